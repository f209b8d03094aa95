package e2e

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells people what is going on, one line for each thing that takes
// longer than a moment.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

// quiet is how long something may take without a word.
const quiet = 2 * time.Second

func newProgress(out io.Writer) *progress { return &progress{out: out, start: time.Now()} }

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Nobody can be told that telling failed.
	_, _ = fmt.Fprintf(p.out, "%6.1fs  %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// step announces something as soon as it has taken longer than a moment; the
// returned function ends it and says how long it took if it was announced.
func (p *progress) step(format string, args ...any) func(error) {
	what := fmt.Sprintf(format, args...)
	begin := time.Now()
	announced := make(chan bool, 1)
	timer := time.AfterFunc(quiet, func() {
		p.say("%s …", what)
		announced <- true
	})
	return func(err error) {
		if timer.Stop() {
			return
		}
		<-announced
		if err != nil {
			p.say("%s: failed after %.1fs", what, time.Since(begin).Seconds())
			return
		}
		p.say("%s: done in %.1fs", what, time.Since(begin).Seconds())
	}
}
