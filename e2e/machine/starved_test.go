package machine

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestStarved(t *testing.T) {
	t.Parallel()
	const look = StarvedInterval
	busy := func(share float64) interval { // of two processors that want all they can get
		ran := time.Duration(share * float64(2*look))
		return interval{took: look, ran: ran, waited: 2*look - ran}
	}
	for name, c := range map[string]struct {
		intervals []interval // the latest last
		ago       time.Duration
		want      string // in the answer
	}{
		"nothing known":           {},
		"all it wanted":           {intervals: repeated(busy(1), 30)},
		"half of it":              {intervals: repeated(busy(0.5), 30)},
		"a twentieth":             {intervals: repeated(busy(0.05), 30), want: "for 5m0s of the last 10m0s this host was too busy to run the machine: its processors got 5 % of the time that they wanted"},
		"a twentieth, not long":   {intervals: repeated(busy(0.05), 5)},
		"a twentieth, long ago":   {intervals: repeated(busy(0.05), 30), ago: StarvedMemory + time.Second},
		"it forgets":              {intervals: append(repeated(busy(0.05), 30), repeated(busy(1), int(StarvedMemory/look)+1)...)},
		"now and then":            {intervals: append(append(repeated(busy(0.05), 4), repeated(busy(1), 10)...), repeated(busy(0.1), 3)...), want: "for 1m10s of"},
		"idle, and late":          {intervals: repeated(interval{took: look, ran: time.Millisecond, waited: 100 * time.Millisecond}, 30)},
		"this process waited too": {intervals: []interval{{took: 2 * time.Minute, ran: time.Second, waited: 3 * time.Second}}, want: "for 2m0s of"},
		"nothing was measured":    {intervals: []interval{{took: 2 * time.Minute}}, want: "this program itself had to wait;"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s shares
			at := time.Now()
			for _, i := range c.intervals {
				at = at.Add(i.took)
				i.end = at
				s.add(i)
			}
			got := s.starved(at.Add(c.ago))
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if most := int(StarvedMemory/look) + 1; len(s.intervals) > most {
				t.Errorf("%d intervals are kept, at most %d are of use", len(s.intervals), most)
			}
		})
	}
}

func repeated(i interval, n int) (list []interval) {
	for range n {
		list = append(list, i)
	}
	return list
}

func TestReadShares(t *testing.T) {
	t.Parallel()
	proc := t.TempDir()
	for thread, text := range map[int]string{7: "1000000 2000000 3\n", 8: "4000000 8000000 5\n", 9: "one two 3\n", 10: "1\n"} {
		dir := filepath.Join(proc, strconv.Itoa(thread))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "schedstat"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if ran, waited, err := readShares(proc, []int{7, 8}); err != nil || ran != 5*time.Millisecond || waited != 10*time.Millisecond {
		t.Errorf("got %v, %v, %v; want 5ms, 10ms", ran, waited, err)
	}
	for _, thread := range []int{9, 10, 11} {
		if _, _, err := readShares(proc, []int{7, thread}); err == nil {
			t.Errorf("thread %d passes", thread)
		}
	}
	// This kernel's own file has the format.
	if ran, _, err := readShares("/proc", []int{os.Getpid()}); err != nil || ran <= 0 {
		t.Errorf("this process ran %v, %v", ran, err)
	}
}
