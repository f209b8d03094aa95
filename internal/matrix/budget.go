package matrix

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sync/semaphore"
)

// Budget is what all cells together may take of this machine at one time.
type Budget struct {
	CPUs      int
	MemoryMiB int
}

// HostBudget is all of this machine: its processors, and the memory that is
// free to be taken now.
func HostBudget() (Budget, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return Budget{}, fmt.Errorf("reading how much memory there is: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "MemAvailable:" && fields[2] == "kB" {
			kib, err := strconv.Atoi(fields[1])
			if err != nil {
				return Budget{}, fmt.Errorf("reading how much memory there is: %w", err)
			}
			return Budget{runtime.NumCPU(), kib >> 10}, nil
		}
	}
	return Budget{}, fmt.Errorf("reading how much memory there is: /proc/meminfo has no line MemAvailable in kB")
}

// share hands a budget out. A part that waits has taken nothing of memory, and
// processors are always taken first, so no two wait for one another.
type share struct{ cpus, memory *semaphore.Weighted }

func newShare(b Budget) share {
	return share{semaphore.NewWeighted(int64(b.CPUs)), semaphore.NewWeighted(int64(b.MemoryMiB))}
}

// take waits until there is room for part.
func (s share) take(ctx context.Context, part Budget) (release func(), err error) {
	if err := s.cpus.Acquire(ctx, int64(part.CPUs)); err != nil {
		return nil, err
	}
	if err := s.memory.Acquire(ctx, int64(part.MemoryMiB)); err != nil {
		s.cpus.Release(int64(part.CPUs))
		return nil, err
	}
	return func() {
		s.memory.Release(int64(part.MemoryMiB))
		s.cpus.Release(int64(part.CPUs))
	}, nil
}
