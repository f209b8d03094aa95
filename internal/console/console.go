// Package console prints progress for people: one line an event, stamped with
// the time since the start, plain text where the output is no terminal.
package console

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"golang.org/x/term"
)

// UI is a packersdk.Ui over a writer. It is safe for concurrent use.
type UI struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
	color bool
}

var _ packersdk.Ui = (*UI)(nil)

// New returns a UI that writes to out. Colour is used only on a terminal and
// when NO_COLOR is unset or empty (https://no-color.org).
func New(out io.Writer) *UI {
	return &UI{out: out, start: time.Now(), color: IsTerminal(out) && os.Getenv("NO_COLOR") == ""}
}

// IsTerminal tells whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (u *UI) line(colour, message string) {
	message = packersdk.LogSecretFilter.FilterString(message)
	u.mu.Lock()
	defer u.mu.Unlock()
	stamp := fmt.Sprintf("%7.1fs  ", time.Since(u.start).Seconds())
	for _, text := range strings.Split(strings.TrimRight(message, "\n"), "\n") {
		if u.color && colour != "" {
			text = colour + text + "\x1b[0m"
		}
		// A progress line that cannot be written must not end the build.
		_, _ = fmt.Fprintln(u.out, stamp+text)
		stamp = strings.Repeat(" ", len(stamp))
	}
}

// Say prints one progress line.
func (u *UI) Say(message string) { u.line("", message) }

// Sayf is Say with a format.
func (u *UI) Sayf(format string, args ...any) { u.Say(fmt.Sprintf(format, args...)) }

// Message is what older provisioners call instead of Say.
func (u *UI) Message(message string) { u.line("", message) }

// Error prints a line that stands out.
func (u *UI) Error(message string) { u.line("\x1b[31m", message) }

// Errorf is Error with a format.
func (u *UI) Errorf(format string, args ...any) { u.Error(fmt.Sprintf(format, args...)) }

// Machine is Packer's machine-readable output; people do not need it.
func (u *UI) Machine(string, ...string) {}

// Ask cannot be answered: the command line is not interactive.
func (u *UI) Ask(query string) (string, error) {
	return "", fmt.Errorf("cannot ask %q: %w", query, errors.ErrUnsupported)
}

// Askf is Ask with a format.
func (u *UI) Askf(format string, args ...any) (string, error) {
	return u.Ask(fmt.Sprintf(format, args...))
}

// TrackProgress returns the stream unchanged; long steps print lines instead
// of bars, which logs can keep.
func (u *UI) TrackProgress(_ string, _, _ int64, stream io.ReadCloser) io.ReadCloser { return stream }
