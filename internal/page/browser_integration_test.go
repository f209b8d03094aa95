//go:build integration

package page

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
)

// browser is a headless Chromium that is told what to do over a pipe, in the
// DevTools protocol. The few commands that are needed do not justify a library
// that is larger than this module's own code.
type browser struct {
	t       *testing.T
	out     *os.File
	answers chan message
	session string
	last    int
	// asked are the addresses of all requests, said what the browser logged.
	asked, said []string
}

type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	theirIn, in, err := os.Pipe()
	must(t, err)
	out, theirOut, err := os.Pipe()
	must(t, err)
	cmd := exec.Command("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--hide-scrollbars", "--user-data-dir="+t.TempDir(), "--remote-debugging-pipe", "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4, where Chromium looks
	must(t, cmd.Start())
	must(t, theirIn.Close())
	must(t, theirOut.Close())
	b := &browser{t: t, out: in, answers: make(chan message, 1000)}
	go func() {
		defer close(b.answers)
		r := bufio.NewReaderSize(out, 1<<20)
		for {
			text, err := r.ReadBytes(0)
			if err != nil {
				return
			}
			var m message
			if json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m) == nil {
				b.answers <- m
			}
		}
	}()
	t.Cleanup(func() {
		_ = in.Close() // ends it
		timer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
		_ = out.Close()
	})
	var target struct{ TargetID, SessionID string }
	must(t, json.Unmarshal(b.do("Target.createTarget", map[string]any{"url": "about:blank"}), &target))
	must(t, json.Unmarshal(b.do("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}), &target))
	b.session = target.SessionID
	for _, domain := range []string{"Page", "Network", "Log", "Runtime"} {
		b.do(domain+".enable", nil)
	}
	return b
}

// do sends a command and waits for its answer.
func (b *browser) do(method string, params map[string]any) json.RawMessage {
	b.t.Helper()
	b.last++
	command := map[string]any{"id": b.last, "method": method, "params": params}
	if params == nil {
		command["params"] = map[string]any{}
	}
	if b.session != "" {
		command["sessionId"] = b.session
	}
	text, err := json.Marshal(command)
	must(b.t, err)
	_, err = b.out.Write(append(text, 0))
	must(b.t, err)
	for {
		m := b.next(method)
		if m.ID != b.last {
			continue
		}
		if m.Error != nil {
			b.t.Fatalf("%s: %s", method, m.Error.Message)
		}
		return m.Result
	}
}

// next takes in what the browser says, and remembers events.
func (b *browser) next(waiting string) message {
	b.t.Helper()
	select {
	case m, ok := <-b.answers:
		if !ok {
			b.t.Fatalf("%s: Chromium ended", waiting)
		}
		switch m.Method {
		case "Network.requestWillBeSent":
			var p struct{ Request struct{ URL string } }
			_ = json.Unmarshal(m.Params, &p)
			b.asked = append(b.asked, p.Request.URL)
		case "Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown":
			b.said = append(b.said, string(m.Params))
		}
		return m
	case <-time.After(2 * time.Minute):
		b.t.Fatalf("%s: Chromium did not answer", waiting)
	}
	return message{}
}

func (b *browser) open(address string) {
	b.t.Helper()
	b.do("Page.navigate", map[string]any{"url": address})
	for b.next("Page.loadEventFired").Method != "Page.loadEventFired" {
	}
}

// eval evaluates an expression of JavaScript into value.
func (b *browser) eval(expression string, value any) {
	b.t.Helper()
	var r struct {
		Result struct {
			Value       json.RawMessage
			Description string
		}
		ExceptionDetails *json.RawMessage
	}
	must(b.t, json.Unmarshal(b.do("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}), &r))
	if r.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, *r.ExceptionDetails)
	}
	must(b.t, json.Unmarshal(r.Result.Value, value))
}

// look sets the width and the colour scheme, and keeps a picture where
// NODEIMAGE_SCREENSHOTS says.
func (b *browser) look(name string, width int, scheme string) {
	b.t.Helper()
	b.do("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500})
	b.do("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
	dir := os.Getenv("NODEIMAGE_SCREENSHOTS")
	if dir == "" {
		return
	}
	var shot struct{ Data string }
	must(b.t, json.Unmarshal(b.do("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}), &shot))
	keep(b.t, filepath.Join(dir, name+".png"), shot.Data)
	var height int
	b.eval("document.documentElement.scrollHeight", &height)
	must(b.t, json.Unmarshal(b.do("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true,
		"clip": map[string]any{"x": 0, "y": 0, "width": width, "height": min(height, 4000), "scale": 1}}), &shot))
	keep(b.t, filepath.Join(dir, name+"-long.png"), shot.Data)
}

func keep(t *testing.T, path, data string) {
	t.Helper()
	bytes, err := base64.StdEncoding.DecodeString(data)
	must(t, err)
	must(t, os.WriteFile(path, bytes, 0o644))
}

// poorContrast lists texts whose contrast with what is behind them is below
// WCAG's 4.5.
const poorContrast = `(() => {
	const parse = c => (c.match(/[\d.]+/g) || []).map(Number);
	const light = c => { const [r, g, b] = c.slice(0, 3).map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 }); return .2126 * r + .7152 * g + .0722 * b };
	const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length == 3 || c[3] > 0) return c } return [255, 255, 255] };
	const poor = new Set();
	for (const e of document.body.querySelectorAll('*')) {
		if (![...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) || !e.checkVisibility()) continue;
		const a = light(parse(getComputedStyle(e).color)), b = light(behind(e));
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < 4.5) poor.add(e.tagName + '.' + e.className + ' ' + ratio.toFixed(2));
	}
	return [...poor];
})()`

// faults lists what assistive technology would stumble over.
const faults = `(() => {
	const bad = [];
	if (document.documentElement.lang != 'en' || document.querySelectorAll('h1').length != 1 || !document.querySelector('main')) bad.push('no lang, h1 or main');
	let level = 0;
	for (const h of document.querySelectorAll('h1,h2,h3,h4')) { const n = +h.tagName[1]; if (n > level + 1) bad.push(h.tagName + ' after H' + level + ': ' + h.textContent); level = n }
	for (const e of document.querySelectorAll('a,summary,h1,h2,h3,h4,th')) if (!e.textContent.trim()) bad.push('no name: ' + e.outerHTML);
	for (const th of document.querySelectorAll('th')) if (!th.scope) bad.push('no scope: ' + th.outerHTML);
	for (const e of document.querySelectorAll('[aria-labelledby]')) if (!document.getElementById(e.getAttribute('aria-labelledby'))) bad.push('label is missing: ' + e.outerHTML.slice(0, 80));
	const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
	for (const id of ids) if (ids.filter(x => x == id).length > 1) bad.push('twice: ' + id);
	for (const a of document.querySelectorAll('a[href^="#"]')) if (!document.getElementById(a.getAttribute('href').slice(1))) bad.push('leads nowhere: ' + a.href);
	return bad;
})()`

func TestPageInChromium(t *testing.T) {
	dir := t.TempDir()
	if shots := os.Getenv("NODEIMAGE_SCREENSHOTS"); shots != "" {
		dir = shots
	}
	c := collected(t, dir, 48, 7)
	must(t, Save(dir, c))
	green := ""
	for _, cell := range c.Cells {
		if cell.Outcome == matrix.Good {
			green = anchorOf(cell.Cell)
		}
	}
	b := startBrowser(t)
	address := "file://" + filepath.Join(dir, IndexFile)
	b.open(address)

	var list []string
	for _, width := range []int{360, 768, 1440} {
		for _, scheme := range []string{"light", "dark"} {
			b.look(fmt.Sprintf("%s-%d", scheme, width), width, scheme)
			var sizes [2]int
			b.eval("[document.documentElement.scrollWidth, innerWidth]", &sizes)
			if sizes[0] > sizes[1] {
				t.Errorf("at a width of %d the page is %d wide: it must not scroll sideways", sizes[1], sizes[0])
			}
			if b.eval(poorContrast, &list); len(list) > 0 {
				t.Errorf("%s, width %d: contrast below 4.5: %q", scheme, width, list)
			}
		}
	}
	if b.eval(faults, &list); len(list) > 0 {
		t.Errorf("for assistive technology: %q", list)
	}

	// A link in the matrix opens what it leads to, without a script.
	opened := fmt.Sprintf("document.getElementById(%q).closest('details').open", green)
	var before, after bool
	b.eval(opened, &before)
	b.open(address + "#" + green)
	for range 50 {
		if b.eval(opened, &after); after {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if before || !after {
		t.Errorf("details of %s: open before %v, after the link %v", green, before, after)
	}

	// On paper everything is there.
	b.open(address)
	height := fmt.Sprintf("document.getElementById(%q).getBoundingClientRect().height", green)
	var screen, paper float64
	b.eval(height, &screen)
	b.do("Emulation.setEmulatedMedia", map[string]any{"media": "print"})
	b.eval(height, &paper)
	if screen != 0 || paper < 100 {
		t.Errorf("the details of a green cell are %.0f pixels high on the screen and %.0f in print, want none and all", screen, paper)
	}
	if b.eval(poorContrast, &list); len(list) > 0 {
		t.Errorf("print: contrast below 4.5: %q", list)
	}
	if shots := os.Getenv("NODEIMAGE_SCREENSHOTS"); shots != "" {
		var pdf struct{ Data string }
		must(t, json.Unmarshal(b.do("Page.printToPDF", map[string]any{"preferCSSPageSize": true, "printBackground": false}), &pdf))
		keep(t, filepath.Join(shots, "print.pdf"), pdf.Data)
	}

	for _, asked := range b.asked {
		if !strings.HasPrefix(asked, address) && asked != "about:blank" {
			t.Errorf("the page asked for %s", asked)
		}
	}
	if len(b.said) > 0 {
		t.Errorf("the browser complains: %q", b.said)
	}

	b.open("file://" + filepath.Join(dir, BadgeFile))
	var badge string
	if b.eval("document.documentElement.getAttribute('aria-label')", &badge); !strings.Contains(badge, "as planned") {
		t.Errorf("the badge is called %q", badge)
	}
}
