package machine

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// backgroundNice is the niceness of a background machine's processors. One that
// is not nice gets nine times as much where both want a processor
// (sched_prio_to_weight in the kernel's scheduler: 1024 to 110).
const backgroundNice = 10

// lowerPriority makes the guest's processors wait for everybody else. Each is a
// thread, and niceness is a thread's.
func (m *Machine) lowerPriority(ctx context.Context) error {
	threads, err := m.processorThreads(ctx)
	if err != nil {
		return fmt.Errorf("putting the machine in the background: %w", err)
	}
	for _, thread := range threads {
		if err := unix.Setpriority(unix.PRIO_PROCESS, thread, backgroundNice); err != nil {
			return fmt.Errorf("putting the machine in the background: thread %d: %w", thread, err)
		}
	}
	return nil
}
