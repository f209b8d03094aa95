package machine

import (
	"errors"
	"fmt"
	"strings"
)

// The ways in which a machine fails to be there. Match them with errors.Is;
// the error itself is a [*StateError].
var (
	// ErrNeverStarted: QEMU is missing, refused its arguments or ended before
	// the guest ran. The image is not to blame.
	ErrNeverStarted = errors.New("the virtual machine never started")

	// ErrGuestDied: the guest panicked, powered off, keeps resetting, or QEMU
	// ended under it.
	ErrGuestDied = errors.New("the guest died")

	// ErrGuestHang: QEMU runs and nobody answers over SSH by the deadline.
	ErrGuestHang = errors.New("the guest does not answer")

	// ErrConnection: the SSH connection to a node could not be made or broke.
	ErrConnection = errors.New("no connection to the node")
)

// errSlipped: the emulator ran code that was not in memory any more, and the
// kernel died of it. The image is not to blame.
var errSlipped = errors.New("the emulator ran a breakpoint that the kernel had taken out already")

// StateError says why a machine is not there. Its exit code is 2 when the host
// lacks a program, 1 when the guest itself showed the fault (it panicked,
// powered off or fell silent) and 75 when it cannot be told.
type StateError struct {
	State    error     // ErrNeverStarted, ErrGuestDied or ErrGuestHang
	Cause    string    // what happened, one line
	Findings []Finding // faults the console names, in the order they came
	Console  []string  // the console's last lines
	Dir      string    // where the evidence is
	Err      error     // what is underneath, if anything
}

func (e *StateError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v: %s", e.State, e.Cause)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	for _, f := range e.Findings {
		fmt.Fprintf(&b, "\n  %s, console line %d: %s", f.ID, f.Line, f.Text)
	}
	if len(e.Console) > 0 {
		b.WriteString("\n  the console's last lines:")
		for _, line := range e.Console {
			b.WriteString("\n    | " + line)
		}
	}
	if e.Dir != "" {
		fmt.Fprintf(&b, "\n  evidence: %s", e.Dir)
	}
	return b.String()
}

func (e *StateError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.State}
	}
	return []error{e.State, e.Err}
}
