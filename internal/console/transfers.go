package console

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Quiet for two seconds, and then a line now and again.
const (
	transfersFirst = 2 * time.Second
	transfersEvery = 10 * time.Second
	transfersShown = 3 // names in a line
)

// Transfers shows how all files that come in at one time get on, in one line
// now and again. It is safe for concurrent use.
type Transfers struct {
	// Verb is what is done with the files; NewTransfers sets "downloading".
	Verb string

	say func(format string, args ...any)
	now func() time.Time

	mu      sync.Mutex
	active  []*Transfer
	since   time.Time // when the first of them began
	moved   int64     // bytes since then, of files that are done too
	stop    chan struct{}
	stopped chan struct{}
}

// NewTransfers shows lines with say.
func NewTransfers(say func(format string, args ...any)) *Transfers {
	return &Transfers{Verb: "downloading", say: say, now: time.Now}
}

// Transfer is one file that is coming in.
type Transfer struct {
	of          *Transfers
	name        string
	first       int64 // bytes that were there before
	done, total int64
	begun       bool
}

// Begin adds a file; total is -1 while its size is not known.
func (t *Transfers) Begin(name string, total int64) *Transfer {
	t.mu.Lock()
	defer t.mu.Unlock()
	transfer := &Transfer{of: t, name: name, total: total}
	t.active = append(t.active, transfer)
	if len(t.active) == 1 {
		t.since, t.moved = t.now(), 0
		t.stop, t.stopped = make(chan struct{}), make(chan struct{})
		go t.watch(t.stop, t.stopped)
	}
	return transfer
}

// At says how many bytes are there, of how many (-1 if unknown). What the
// first call says was there before and does not count for the speed.
func (t *Transfer) At(done, total int64) {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	if !t.begun {
		t.begun, t.first = true, done
	}
	t.done, t.total = done, total
}

// End takes the file off the display.
func (t *Transfer) End() {
	t.of.mu.Lock()
	i := slices.Index(t.of.active, t)
	if i < 0 {
		t.of.mu.Unlock()
		return
	}
	t.of.moved += max(t.done-t.first, 0)
	t.of.active = slices.Delete(t.of.active, i, i+1)
	last := len(t.of.active) == 0
	stop, stopped := t.of.stop, t.of.stopped
	if last {
		close(stop)
	}
	t.of.mu.Unlock()
	if last {
		<-stopped
	}
}

func (t *Transfers) watch(stop, stopped chan struct{}) {
	defer close(stopped)
	timer := time.NewTimer(transfersFirst)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return
		case <-timer.C:
			if line := t.line(); line != "" {
				t.say("%s", line)
			}
			timer.Reset(transfersEvery)
		}
	}
}

// line is what there is to say: "downloading 2 files: 12 of 60 MiB, 4.0 MiB/s,
// 12s left (kubelet 1.36.4, kubectl 1.36.4)".
func (t *Transfers) line() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.active) == 0 {
		return ""
	}
	var done, total int64
	moved, known := t.moved, true
	var names []string
	// Those that have most left come first.
	left := func(x *Transfer) int64 { return x.total - x.done }
	for _, x := range slices.SortedStableFunc(slices.Values(t.active), func(a, b *Transfer) int { return cmp.Compare(left(b), left(a)) }) {
		done += x.done
		total += x.total
		moved += max(x.done-x.first, 0)
		known = known && x.total >= 0
		names = append(names, x.name)
	}
	var b strings.Builder
	plural := "s"
	if len(names) == 1 {
		plural = ""
	}
	fmt.Fprintf(&b, "%s %d file%s: %d", t.Verb, len(names), plural, done>>20)
	if known {
		fmt.Fprintf(&b, " of %d", total>>20)
	}
	b.WriteString(" MiB")
	if seconds := t.now().Sub(t.since).Seconds(); seconds > 0 && moved > 0 {
		speed := float64(moved) / seconds
		fmt.Fprintf(&b, ", %.1f MiB/s", speed/(1<<20))
		if known {
			rest := time.Duration(float64(total-done) / speed * float64(time.Second))
			fmt.Fprintf(&b, ", %s left", rest.Round(time.Second))
		}
	}
	more := ""
	if len(names) > transfersShown {
		more = fmt.Sprintf(" and %d more", len(names)-transfersShown)
		names = names[:transfersShown]
	}
	fmt.Fprintf(&b, " (%s%s)", strings.Join(names, ", "), more)
	return b.String()
}
