package machine

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A machine whose processors this host does not run looks broken from outside:
// nothing answers, probes fail, containers are killed for it. That says nothing
// about the image.
const (
	// StarvedInterval lies between two looks at what the processors got.
	StarvedInterval = 10 * time.Second
	// StarvedShare: an interval counts when they got less than this part, one in
	// so many, of the time they wanted.
	StarvedShare = 4
	// StarvedFor is how long such intervals are together in a machine that was
	// starved, and StarvedMemory how long that explains what is seen.
	StarvedFor    = time.Minute
	StarvedMemory = 10 * time.Minute
)

// interval is a time between two looks at the processors' threads.
type interval struct {
	end  time.Time
	took time.Duration // longer than StarvedInterval when this process had to wait, too
	// ran and waited are sums over all processors: on one of the host's, and
	// for one.
	ran, waited time.Duration
}

func (i interval) starved() bool {
	wanted := i.ran + i.waited
	return i.took >= 2*StarvedInterval || wanted >= i.took/2 && i.ran*StarvedShare < wanted
}

// shares are what the processors got lately.
type shares struct {
	mu        sync.Mutex
	intervals []interval
}

func (s *shares) add(i interval) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.intervals) > 0 && i.end.Sub(s.intervals[0].end) > StarvedMemory {
		s.intervals = s.intervals[1:]
	}
	s.intervals = append(s.intervals, i)
}

// starved says how the host kept the machine waiting before now, or nothing if
// it did not, or not for long.
func (s *shares) starved(now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sum interval
	for _, i := range s.intervals {
		if now.Sub(i.end) <= StarvedMemory && i.starved() {
			sum.took, sum.ran, sum.waited = sum.took+i.took, sum.ran+i.ran, sum.waited+i.waited
		}
	}
	if sum.took < StarvedFor {
		return ""
	}
	sign := "this program itself had to wait"
	if wanted := sum.ran + sum.waited; sum.ran*StarvedShare < wanted {
		sign = fmt.Sprintf("its processors got %.0f %% of the time that they wanted", 100*float64(sum.ran)/float64(wanted))
	}
	return fmt.Sprintf("for %s of the last %s this host was too busy to run the machine: %s; run it where less else runs",
		sum.took.Round(time.Second), StarvedMemory, sign)
}

// Starved says in words how this host kept the machine from running within the
// last [StarvedMemory]: what looks broken since need not be. It is empty when
// the host did not, or when it cannot be told, as on a kernel without scheduler
// statistics.
func (m *Machine) Starved() string {
	return m.shares.starved(time.Now())
}

// watchShares looks at the processors until the machine is gone.
func (m *Machine) watchShares() {
	// The monitor ends with the machine, and the question with the monitor.
	threads, err := m.processorThreads(context.Background())
	if err != nil {
		return
	}
	tick := time.NewTicker(StarvedInterval)
	defer tick.Stop()
	last := interval{end: time.Now()}
	if last.ran, last.waited, err = readShares("/proc", threads); err != nil {
		return
	}
	for {
		select {
		case <-m.process.exited:
			return
		case <-tick.C:
		}
		next := interval{end: time.Now()}
		if next.ran, next.waited, err = readShares("/proc", threads); err != nil {
			return
		}
		m.shares.add(interval{end: next.end, took: next.end.Sub(last.end), ran: next.ran - last.ran, waited: next.waited - last.waited})
		last = next
	}
}

// processorThreads asks QEMU for the threads that are the guest's processors.
func (m *Machine) processorThreads(ctx context.Context) ([]int, error) {
	answer, err := m.monitor.execute(ctx, "query-cpus-fast", nil)
	if err != nil {
		return nil, err
	}
	var processors []struct {
		Thread int `json:"thread-id"`
	}
	if err := json.Unmarshal(answer, &processors); err != nil {
		return nil, err
	}
	var threads []int
	for _, p := range processors {
		threads = append(threads, p.Thread)
	}
	return threads, nil
}

// readShares adds up how long threads ran and how long they waited for a
// processor since they began: the first two fields of schedstat, in nanoseconds
// (Documentation/scheduler/sched-stats.rst of the kernel).
func readShares(proc string, threads []int) (ran, waited time.Duration, err error) {
	for _, thread := range threads {
		text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(thread), "schedstat"))
		if err != nil {
			return 0, 0, err
		}
		fields := strings.Fields(string(text))
		if len(fields) < 2 {
			return 0, 0, fmt.Errorf("schedstat of thread %d is %q", thread, text)
		}
		for i, sum := range []*time.Duration{&ran, &waited} {
			n, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("schedstat of thread %d: %w", thread, err)
			}
			*sum += time.Duration(n)
		}
	}
	return ran, waited, nil
}
