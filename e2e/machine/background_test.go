package machine

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A machine that boots beside the judged one must not take its processors, and
// what it had to wait is no excuse for what that one does.
func TestBackground(t *testing.T) {
	t.Parallel()
	for _, background := range []bool{false, true} {
		o := testOptions(t, "answers")
		o.Background = background
		m, err := Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = m.Kill() }()
		threads, err := m.processorThreads(t.Context())
		if err != nil || len(threads) == 0 {
			t.Fatalf("processors: %v, %v", threads, err)
		}
		mine, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			// The kernel's answer is 20 - niceness.
			priority, err := unix.Getpriority(unix.PRIO_PROCESS, thread)
			want := mine
			if background {
				want = 20 - backgroundNice
			}
			if err != nil || priority != want {
				t.Errorf("background %t: niceness %d, want %d (%v)", background, 20-priority, 20-want, err)
			}
		}
		m.shares.add(interval{end: time.Now(), took: 2 * StarvedFor, ran: time.Second, waited: time.Hour})
		if got := m.Starved(); (got == "") != background {
			t.Errorf("background %t: starved %q", background, got)
		}
	}
}
