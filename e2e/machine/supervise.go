package machine

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

const (
	// resetLimit during one boot is more than firmware ever does (shim and
	// OVMF reset once or twice to apply settings): the guest resets in a loop.
	resetLimit = 4

	// panicTrailer is the time a panicking kernel gets to print its trace.
	panicTrailer = time.Second

	// silentConsole for this long before the deadline is a guest that waits,
	// not one that is slow.
	silentConsole = 60 * time.Second
)

// eventState is what QEMU's events say about the guest.
type eventState struct {
	shutdown string // the reason of the last SHUTDOWN
	resets   int    // by the guest, since the last answer over SSH
	booting  bool   // nobody has answered over SSH yet
	stopping bool   // the end is wanted
}

// onEvent takes in an event; it is called in order, and must not wait for QMP.
func (m *Machine) onEvent(e event) {
	var data struct {
		Guest  bool   `json:"guest"`
		Reason string `json:"reason"`
		Action string `json:"action"`
	}
	if len(e.Data) > 0 {
		if err := json.Unmarshal(e.Data, &data); err != nil {
			return // an event of a shape that none of those below has
		}
	}
	m.mu.Lock()
	switch e.Name {
	case "SHUTDOWN":
		m.events.shutdown = data.Reason
	case "RESET":
		if data.Guest {
			m.events.resets++
		}
	}
	looping := m.events.booting && m.events.resets >= resetLimit
	m.mu.Unlock()
	switch {
	case e.Name == "STOP":
		// QMP is read by the caller of this, so it cannot be asked from here.
		go m.onStop()
	case e.Name == "GUEST_PANICKED" || e.Name == "GUEST_CRASHLOADED":
		go m.dieOf(ErrGuestDied, "its kernel panicked")
	case e.Name == "BLOCK_IO_ERROR" && data.Action == "stop":
		// QEMU stops the guest when the host has no room for its writes.
		go m.die(exitcode.Transient(m.stateError(ErrGuestDied, fmt.Sprintf(
			"the host could not serve its disk (%s); free space in %s", data.Reason, m.options.Scratch), nil)))
	case looping:
		go m.dieOf(ErrGuestDied, fmt.Sprintf("it reset itself %d times without ever answering", resetLimit))
	}
}

// onStop finds out why the guest stands still. An accelerator that meets an
// instruction it cannot run stops it and keeps QEMU: without this it would be
// waited for until the boot's deadline.
func (m *Machine) onStop() {
	ctx, cancel := context.WithTimeout(context.Background(), quitTimeout)
	defer cancel()
	raw, err := m.monitor.execute(ctx, "query-status", nil)
	if err != nil {
		return // QEMU ended, which supervise explains
	}
	var answer struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil || answer.Status != "internal-error" {
		return
	}
	m.die(exitcode.Transient(m.stateError(ErrGuestDied, fmt.Sprintf(
		"the accelerator %s met an internal error, see %s", m.report.Accel, QEMULog), nil)))
}

// onConsoleFault ends a boot that cannot succeed any more. After the boot only
// a dead kernel ends the machine: a guest in an emergency shell may still be
// worth a look.
func (m *Machine) onConsoleFault(f fault, finding Finding) {
	m.mu.Lock()
	booting := m.events.booting
	m.mu.Unlock()
	switch {
	case f.effect == dead:
		go m.dieOf(ErrGuestDied, fmt.Sprintf("its console says %s (%s)", finding.ID, finding.Text))
	case booting:
		go m.dieOf(ErrGuestHang, fmt.Sprintf("it waits for somebody at its console: %s (%s)", finding.ID, finding.Text))
	}
}

// dieOf records a fault that the guest itself showed, with the console's last
// words.
func (m *Machine) dieOf(state error, cause string) {
	select {
	case <-m.gone:
		return
	case <-time.After(panicTrailer):
	}
	if m.report.Accel == AccelTCG && m.console != nil && m.console.emulatorSlipped() {
		m.die(exitcode.Transient(m.stateError(ErrGuestDied, cause, errSlipped)))
		return
	}
	m.die(exitcode.With(exitcode.Failed, m.stateError(state, cause, nil)))
}

// stateError adds to a cause what the console says.
func (m *Machine) stateError(state error, cause string, err error) *StateError {
	e := &StateError{State: state, Cause: cause, Dir: m.options.Dir, Err: err}
	if m.console != nil {
		e.Console, e.Findings, _ = m.console.last()
	}
	return e
}

// die makes the machine gone for the reason err; the first reason stands.
func (m *Machine) die(err error) {
	m.goneOnce.Do(func() {
		m.goneErr = err
		close(m.gone)
	})
}

// supervise turns the end of QEMU into the reason why the machine is gone.
func (m *Machine) supervise() {
	<-m.process.exited
	<-m.monitor.closed // all events came before the connection ended
	m.die(m.exitError())
}

// exitError tells whose fault the end of QEMU is: a guest that powered off is
// the image's, a QEMU that crashed or was killed is the host's, and one that
// ended at once never started.
func (m *Machine) exitError() error {
	m.mu.Lock()
	reason, stopping := m.events.shutdown, m.events.stopping
	m.mu.Unlock()
	if stopping {
		return errStopped
	}
	// The last lines of the console may not have been read yet.
	time.Sleep(2 * consolePoll)
	switch {
	case reason == "guest-panic":
		return exitcode.With(exitcode.Failed, m.stateError(ErrGuestDied, "its kernel panicked", nil))
	case reason == "guest-shutdown" || reason == "guest-reset":
		return exitcode.With(exitcode.Failed, m.stateError(ErrGuestDied, "it powered itself off ("+reason+")", nil))
	case time.Since(m.report.Started) < m.options.grace:
		return exitcode.Transient(m.stateError(ErrNeverStarted, m.exitCause(), nil))
	default:
		return exitcode.Transient(m.stateError(ErrGuestDied, m.exitCause(), nil))
	}
}

// hangError is the answer at the boot's deadline. A guest that this host did not
// run, or whose console still moves, may only be slow, which is no verdict on the
// image.
func (m *Machine) hangError(timeout time.Duration, last error) error {
	if starved := m.shares.starved(time.Now()); starved != "" {
		return exitcode.Transient(m.stateError(ErrGuestHang, fmt.Sprintf("no answer over SSH within %s, and %s", timeout, starved), last))
	}
	_, _, silent := m.console.last()
	limit := min(silentConsole, timeout/2)
	if silent < limit {
		return exitcode.Transient(m.stateError(ErrGuestHang, fmt.Sprintf(
			"no answer over SSH within %s, but its console still grows: it may only be slow (accelerator %s); allow a longer boot timeout",
			timeout, m.report.Accel), last))
	}
	return exitcode.With(exitcode.Failed, m.stateError(ErrGuestHang, fmt.Sprintf(
		"no answer over SSH within %s, and its console has been silent for %s",
		timeout, silent.Round(time.Second)), last))
}
