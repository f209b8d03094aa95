package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// stopTimeout is what a guest gets to power off; a node full of pods under
// TCG takes most of a minute.
const stopTimeout = 90 * time.Second

// leaveTimeout is the part of it in which SSH has to do it.
const leaveTimeout = 30 * time.Second

var errStopped = errors.New("the machine was stopped")

// Stop powers the guest off, ends QEMU and removes everything but the
// evidence. When the guest does not power off in time, or ctx is done, it is
// killed, and the error says so; nothing is left running either way. Stop of a
// machine that is gone already only cleans up.
func (m *Machine) Stop(ctx context.Context) error {
	var err error
	if m.Err() == nil {
		m.mu.Lock()
		m.events.stopping = true
		m.mu.Unlock()
		err = m.powerOff(ctx)
	}
	m.die(errStopped)
	return errors.Join(err, m.end())
}

// Kill ends QEMU at once and removes everything but the evidence.
func (m *Machine) Kill() error {
	m.die(errStopped)
	return m.end()
}

// powerOff returns when the guest has powered off and QEMU has ended.
func (m *Machine) powerOff(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stopTimeout, fmt.Errorf("no power-off within %s", stopTimeout))
	defer cancel()
	// The power button needs logind in the guest and systemctl needs SSH, so
	// both are tried; a second request does no harm.
	leaveCtx, cancelLeave := context.WithTimeout(ctx, leaveTimeout)
	defer cancelLeave()
	if err := m.leave(leaveCtx, "poweroff"); err != nil && m.Err() == nil {
		if _, err := m.monitor.execute(ctx, "system_powerdown", nil); err != nil && m.Err() == nil {
			return exitcode.Transient(m.stateError(ErrGuestHang, "it could not be powered off, and was killed", err))
		}
	}
	select {
	case <-m.process.exited:
		return nil
	case <-ctx.Done():
		return exitcode.Transient(m.stateError(ErrGuestHang, "it did not power off, and was killed", context.Cause(ctx)))
	}
}

// end stops everything that runs for the machine and removes what it left. It
// copes with a machine of which only a part was ever made.
func (m *Machine) end() error {
	m.endOnce.Do(func() {
		var errs []error
		if m.Guest != nil {
			errs = append(errs, m.Guest.Close())
		}
		if m.process != nil {
			m.quit()
			m.process.stop()
		}
		if m.monitor != nil {
			m.monitor.close()
		}
		if m.console != nil {
			errs = append(errs, m.console.close())
		}
		for _, log := range m.logs {
			errs = append(errs, log.Close())
		}
		if m.scratch != nil {
			errs = append(errs, m.scratch.remove())
		}
		m.endErr = errors.Join(errs...)
	})
	return m.endErr
}

// quit asks QEMU to end by itself, so that it flushes its logs; process.stop
// follows in any case.
func (m *Machine) quit() {
	select {
	case <-m.process.exited:
		return
	default:
	}
	if m.monitor == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), quitTimeout)
	defer cancel()
	if _, err := m.monitor.execute(ctx, "quit", nil); err != nil {
		return // it is being killed next
	}
	select {
	case <-m.process.exited:
	case <-ctx.Done():
	}
}

// ScanConsole returns what the whole console says went wrong, less what allow
// excuses. It reads the evidence, so it works after Stop as well.
func (m *Machine) ScanConsole(allow ...Allow) ([]Finding, error) {
	f, err := os.Open(filepath.Join(m.options.Dir, ConsoleLog))
	if err != nil {
		return nil, fmt.Errorf("scanning the console: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	return ScanLog(f, allow)
}
