package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

const (
	// monitorTimeout bounds the time until QEMU talks QMP. It maps firmware
	// and opens disks before that, seconds on a busy host.
	monitorTimeout = 30 * time.Second

	// processGrace lies between asking QEMU to end and killing it.
	processGrace = 5 * time.Second

	quitTimeout = 5 * time.Second
)

// process is QEMU as it runs in the background.
type process struct {
	cancel context.CancelFunc
	exited chan struct{}
	result run.Result // valid once exited is closed
	err    error
}

// startProcess runs argv until it ends or stop is called; [run.Host] sees to
// it that it does not outlive this process, even one that is killed.
func startProcess(argv []string, log *os.File) *process {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cancel: cancel, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		p.result, p.err = run.Host{Grace: processGrace}.Run(ctx, run.Cmd{Argv: argv, Stdout: log, Stderr: log})
	}()
	return p
}

// stop ends the process, by force if need be, and waits for it.
func (p *process) stop() {
	p.cancel()
	<-p.exited
}

// launch starts QEMU, begins to watch it and lets the guest run. It returns
// the address on which the guest's SSH server will be.
func (m *Machine) launch(ctx context.Context, qemu string, v vm) (string, error) {
	qemuLog, err := m.evidence(QEMULog)
	if err != nil {
		return "", neverStarted(m.options.Dir, "no place for evidence", err)
	}
	qmpLog, err := m.evidence(QMPLog)
	if err != nil {
		return "", neverStarted(m.options.Dir, "no place for evidence", err)
	}
	// What an earlier run left in the directory is no evidence of this one.
	for _, name := range []string{ConsoleLog, JournalStream, JournalText, JournalExport, KernelLog} {
		if err := os.Remove(filepath.Join(m.options.Dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", neverStarted(m.options.Dir, "old evidence is in the way", err)
		}
	}
	argv := append([]string{qemu}, v.argv()...)
	m.report.Command = run.Quote(argv)
	if _, err := fmt.Fprintf(qemuLog, "# QEMU %s\n# %s\n", m.report.QEMU, m.report.Command); err != nil {
		return "", neverStarted(m.options.Dir, "no place for evidence", err)
	}
	m.process = startProcess(argv, qemuLog)

	ctx, cancel := context.WithTimeoutCause(ctx, monitorTimeout, fmt.Errorf("QEMU did not talk QMP within %s", monitorTimeout))
	defer cancel()
	conn, err := m.dialMonitor(ctx, v.qmp)
	if err != nil {
		return "", m.notStarted(ctx, err)
	}
	if m.monitor, err = newMonitor(ctx, conn, qmpLog, m.onEvent); err != nil {
		return "", m.notStarted(ctx, err)
	}
	usernet, err := m.monitor.human(ctx, "info usernet")
	if err != nil {
		return "", m.notStarted(ctx, err)
	}
	port, err := forwardedPort(usernet)
	if err != nil {
		return "", m.notStarted(ctx, err)
	}
	m.report.SSH = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	m.console = followConsole(v.console, m.onConsoleFault)
	m.setBooting(true)
	m.report.Started = time.Now()
	if _, err := m.monitor.execute(ctx, "cont", nil); err != nil {
		return "", m.notStarted(ctx, err)
	}
	go m.supervise()
	go m.watchShares()
	return m.report.SSH, nil
}

// dialMonitor connects to QEMU's socket as soon as it is there.
func (m *Machine) dialMonitor(ctx context.Context, path string) (net.Conn, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err == nil {
			return conn, nil
		}
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("connecting to QEMU's monitor: %w", err)
		}
		select {
		case <-m.process.exited:
			return nil, errors.New("QEMU ended before it could be talked to")
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// notStarted explains a QEMU that did not come to run the guest, by what it
// said itself if it has ended.
func (m *Machine) notStarted(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return neverStarted(m.options.Dir, "it was cancelled", err)
	}
	// A connection that broke and a process that ended are one event, seen
	// twice; the process's message is the better one.
	select {
	case <-m.process.exited:
		return exitcode.Transient(&StateError{State: ErrNeverStarted, Cause: m.exitCause(), Dir: m.options.Dir, Err: err})
	case <-time.After(time.Second):
		return exitcode.Transient(&StateError{State: ErrNeverStarted, Cause: "QEMU runs but could not be set up", Dir: m.options.Dir, Err: err})
	}
}

// exitCause says how QEMU ended and what it said last.
func (m *Machine) exitCause() string {
	said := strings.Join(lastLines(m.process.result.Stderr, 5), " | ")
	if said == "" {
		said = "it said nothing"
	}
	code := m.process.result.ExitCode
	switch {
	case code > 128:
		return fmt.Sprintf("QEMU was ended by signal %d (%v): %s", code-128, syscall.Signal(code-128), said)
	case code < 0:
		return fmt.Sprintf("QEMU could not be run: %v", m.process.err)
	default:
		return fmt.Sprintf("QEMU ended with exit status %d: %s", code, said)
	}
}

func lastLines(text string, n int) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	return lines[max(0, len(lines)-n):]
}
