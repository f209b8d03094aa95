package machine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

const (
	// bannerPatience bounds one attempt while nobody may be listening yet.
	bannerPatience = 3 * time.Second

	bootRetry = time.Second

	// rebootTimeout bounds the time to the next boot's first answer; a
	// caller's deadline may be shorter.
	rebootTimeout = 10 * time.Minute

	// rebootBegins bounds the time until a rebooting node ends its
	// connections.
	rebootBegins = 2 * time.Minute
)

// awaitSSH returns when the guest answers, or says what became of it.
func (m *Machine) awaitSSH(ctx context.Context) error {
	timeout := m.options.bootTimeout(m.report.Accel)
	defer m.setBooting(false)
	bootCtx, cancel := context.WithDeadline(ctx, m.report.Started.Add(timeout))
	defer cancel()
	err := m.Guest.await(bootCtx)
	switch {
	case err == nil:
		m.report.BootToSSH = time.Since(m.report.Started)
		return nil
	case m.Err() != nil:
		return m.Err()
	case ctx.Err() != nil:
		return exitcode.Transient(m.stateError(ErrGuestHang, "the boot was cancelled", context.Cause(ctx)))
	default:
		return m.hangError(timeout, err)
	}
}

func (m *Machine) setBooting(booting bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events.booting, m.events.resets = booting, 0
}

// await tries to log in until it works, the node is gone or ctx is done; then
// the error is the last attempt's.
func (g *Guest) await(ctx context.Context) error {
	last := errors.New("no attempt was made")
	for {
		l, err := g.tryAcquire(ctx, bannerPatience)
		if err == nil {
			g.release(l)
			return nil
		}
		if ctx.Err() == nil || errors.Is(err, errClosed) {
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-g.gone:
			return g.why()
		case <-time.After(bootRetry):
		}
	}
}

// BootID implements Node.
func (g *Guest) BootID(ctx context.Context) (string, error) {
	id, err := g.ReadFile(ctx, "/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(id)), nil
}

// Reboot implements Node.
func (g *Guest) Reboot(ctx context.Context) error {
	before, err := g.BootID(ctx)
	if err != nil {
		return fmt.Errorf("rebooting %s: %w", g.name, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, rebootTimeout, fmt.Errorf("it was not back within %s", rebootTimeout))
	defer cancel()
	if err := g.leave(ctx, "reboot"); err != nil {
		return fmt.Errorf("rebooting %s: %w", g.name, err)
	}
	for {
		if err := g.await(ctx); err != nil {
			if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
				err = fmt.Errorf("%w: %w", cause, err)
			}
			return fmt.Errorf("rebooting %s: %w: %w", g.name, ErrConnection, err)
		}
		after, err := g.BootID(ctx)
		if err == nil && after != before {
			return nil
		}
		// The old boot still answers, or the connection was made to it.
		g.drop()
		select {
		case <-ctx.Done():
			return fmt.Errorf("rebooting %s: %w: the boot ID is still %s: %w", g.name, ErrConnection, before, context.Cause(ctx))
		case <-time.After(bootRetry):
		}
	}
}

// Reboot implements Node. A guest that does not come up again is told apart as
// it is by Start.
func (m *Machine) Reboot(ctx context.Context) error {
	m.setBooting(true)
	defer m.setBooting(false)
	err := m.Guest.Reboot(ctx)
	if err != nil && m.Err() != nil {
		return m.Err()
	}
	return err
}

// leave asks systemd to reboot or power off and returns when the node has
// closed its connections.
func (g *Guest) leave(ctx context.Context, verb string) error {
	l, err := g.acquire(ctx)
	if err != nil {
		return err
	}
	defer g.release(l)
	_, err = g.Run(ctx, run.Cmd{Argv: []string{"systemctl", "--no-block", verb}})
	if err != nil && !errors.Is(err, ErrConnection) {
		return err
	}
	timer := time.NewTimer(rebootBegins)
	defer timer.Stop()
	select {
	case <-l.dead:
	case <-g.gone:
	case <-timer.C:
		return fmt.Errorf("%s was accepted, and %s later the node still runs", verb, rebootBegins)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	g.drop()
	return nil
}

// BootTimes are how long the parts of the running boot took, as systemd
// measured them. A part that did not happen is zero.
type BootTimes struct {
	Firmware  time.Duration `json:"firmware"`
	Loader    time.Duration `json:"loader"`
	Kernel    time.Duration `json:"kernel"`
	Initrd    time.Duration `json:"initrd"`
	Userspace time.Duration `json:"userspace"` // zero until the boot is finished
}

// BootTimes asks systemd.
func (g *Guest) BootTimes(ctx context.Context) (BootTimes, error) {
	result, err := g.Run(ctx, run.Cmd{Argv: []string{"systemctl", "show",
		"--property=FirmwareTimestampMonotonic,LoaderTimestampMonotonic,InitRDTimestampMonotonic,UserspaceTimestampMonotonic,FinishTimestampMonotonic"}})
	if err != nil {
		return BootTimes{}, fmt.Errorf("asking for boot times: %w", err)
	}
	return parseBootTimes(result.Stdout)
}

// parseBootTimes computes spans from systemd's marks, in microseconds around
// the kernel's start: firmware and loader are counted backwards from it.
func parseBootTimes(properties string) (BootTimes, error) {
	mark := map[string]time.Duration{}
	for line := range strings.Lines(properties) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		usec, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return BootTimes{}, fmt.Errorf("boot times: %s: %w", name, err)
		}
		mark[strings.TrimSuffix(name, "TimestampMonotonic")] = time.Duration(usec) * time.Microsecond
	}
	userspace, ok := mark["Userspace"]
	if !ok {
		return BootTimes{}, fmt.Errorf("boot times: systemd gave no UserspaceTimestampMonotonic: it said %q", properties)
	}
	times := BootTimes{Loader: mark["Loader"], Kernel: userspace}
	if mark["Firmware"] > 0 {
		times.Firmware = mark["Firmware"] - mark["Loader"]
	}
	if initrd := mark["InitRD"]; initrd > 0 {
		times.Kernel, times.Initrd = initrd, userspace-initrd
	}
	if finish := mark["Finish"]; finish > 0 {
		times.Userspace = finish - userspace
	}
	return times, nil
}
