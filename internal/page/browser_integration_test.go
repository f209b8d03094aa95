//go:build integration

package page

import (
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

//go:embed testdata/probe.js
var probe string

// browsers are the programs that speak the DevTools protocol, Debian's first.
var browsers = []string{"chromium", "google-chrome", "google-chrome-stable"}

// startBrowser starts a headless browser for the whole test, and returns the
// context that tabs are opened in.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range browsers {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatalf("no browser, none of %s: install the package chromium, as .ci/setup browser does", strings.Join(browsers, ", "))
	}
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		// Chromium has no sandbox for root and in most containers, and all that
		// it opens here is a page of ours.
		chromedp.NoSandbox,
		chromedp.Flag("hide-scrollbars", false),
	)...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	must(t, chromedp.Do(ctx))
	return ctx
}

// screen is what a tab shows the page on.
type screen struct {
	width, height int64
	phone         bool
	dark          bool
	media         string // "print", or "" for a screen
}

var (
	desk  = screen{width: 1280, height: 900}
	night = screen{width: 1280, height: 900, dark: true}
	phone = screen{width: 360, height: 740, phone: true}
	paper = screen{width: 794, height: 1123, media: "print"} // A4 at 96 dpi
)

// tab is one page that is shown, without JavaScript of its own.
type tab struct {
	ctx context.Context

	mu         sync.Mutex
	requests   []string
	complaints []string // what the console and dialogs said
}

// show opens a page on a screen, in a tab that the test closes.
func show(t *testing.T, browser context.Context, url string, s screen) *tab {
	t.Helper()
	b := &tab{}
	ctx, stop := chromedp.NewContext(browser, chromedp.WithListener(b.hear))
	t.Cleanup(stop)
	b.ctx = ctx
	must(t, chromedp.Do(ctx)) // the context that opens the tab must not end before it
	scheme := "light"
	if s.dark {
		scheme = "dark"
	}
	call(t, b, network.Enable, network.EnableParams{})
	call(t, b, log.Enable, cdp.Empty{})
	call(t, b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	call(t, b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: s.width, Height: s.height, DeviceScaleFactor: 2, Mobile: s.phone})
	call(t, b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: s.media, Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	b.do(t, chromedp.Navigate(url))
	return b
}

// hear keeps what the tab says. It runs for every event of the browser.
func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, fmt.Sprintf("%s: %s", e.Entry.Level, e.Entry.Text))
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, fmt.Sprintf("console: %s", e.Type))
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, "exception: "+e.ExceptionDetails.Text)
	case *cdppage.EventJavascriptDialogOpening:
		b.complaints = append(b.complaints, "dialog: "+e.Message)
	}
}

// patience is how long one step may take, beside a booted suite too. A query
// for an element that is not there waits as long as it can.
const patience = time.Minute

// do carries actions out in the tab.
func (b *tab) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	get(t, b, chromedp.Steps(steps...))
}

// call sends a command of the protocol.
func call[P, R any](t *testing.T, b *tab, command cdp.Command[P, R], params P) R {
	t.Helper()
	return get(t, b, func(ctx context.Context, in *chromedp.Target) (R, error) { return cdp.Call(ctx, in, command, params) })
}

// get carries out an action that returns something.
func get[T any](t *testing.T, b *tab, action chromedp.Action[T]) T {
	t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, patience)
	defer stop()
	v, err := chromedp.Run(ctx, action)
	must(t, err)
	return v
}

// measure calls a function of the probe and returns what it says.
func measure[T any](t *testing.T, b *tab, function string) T {
	t.Helper()
	return get(t, b, chromedp.Evaluate[T](strings.TrimSpace(probe)+"."+function+"()"))
}

// heard returns what the tab asked for beside the page itself, and what it
// complained about.
func (b *tab) heard(url string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []string
	for _, r := range b.requests {
		if r != url {
			found = append(found, "request "+r)
		}
	}
	return append(found, b.complaints...)
}
