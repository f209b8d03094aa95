package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultGrace is how long a cancelled command may take to end itself.
const DefaultGrace = 10 * time.Second

// outputDelay bounds the wait for output after the last process of a command
// was killed: a descendant that left the process group may hold the pipe open.
const outputDelay = 5 * time.Second

// Host runs commands on this machine. The zero value is ready for use.
//
// Each command leads its own process group. Nothing of the group survives Run,
// and the kernel kills the leader when this process dies, however it dies; a
// command that starts daemons in groups of their own needs [Isolated] too. A
// command gets no open file but its three streams.
type Host struct {
	// Grace lies between SIGTERM and SIGKILL after the context is done.
	// Zero means DefaultGrace.
	Grace time.Duration
}

var _ Runner = Host{}

// Run implements Runner. Messages of the command are in English (LC_ALL=C.UTF-8)
// unless Env says otherwise. A command that a signal ended has the exit code
// 128 + the signal's number, as a shell reports it.
func (h Host) Run(ctx context.Context, cmd Cmd) (Result, error) {
	if len(cmd.Argv) == 0 {
		return Result{}, &Error{Where: "host", Argv: cmd.Argv, Err: errors.New("no command was given")}
	}
	type outcome struct {
		result Result
		err    error
	}
	done := make(chan outcome, 1)
	// The parent-death signal is sent when the *thread* that forked ends, so
	// that thread must belong to nobody else until the command is over.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		result, err := h.run(ctx, cmd)
		done <- outcome{result, err}
	}()
	o := <-done
	if o.err != nil {
		return o.result, &Error{Where: "host", Argv: cmd.Argv, Result: o.result, Err: o.err}
	}
	return o.result, nil
}

func (h Host) run(ctx context.Context, cmd Cmd) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{ExitCode: -1}, context.Cause(ctx)
	}
	var stdout, stderr tail
	c := exec.Command(cmd.Argv[0], cmd.Argv[1:]...)
	c.Dir = cmd.Dir
	c.Env = append(append(os.Environ(), "LC_ALL=C.UTF-8"), cmd.Env...)
	c.Stdout = tee(&stdout, cmd.Stdout)
	c.Stderr = tee(&stderr, cmd.Stderr)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c.WaitDelay = outputDelay

	var stdin io.WriteCloser
	if cmd.Stdin != nil {
		if f, ok := cmd.Stdin.(*os.File); ok {
			c.Stdin = f
		} else {
			var err error
			if stdin, err = c.StdinPipe(); err != nil {
				return Result{ExitCode: -1}, fmt.Errorf("opening standard input: %w", err)
			}
		}
	}
	// Go closes what it opened itself, and nothing that this process was born
	// with. A kernel before 5.11 does not know how, and passes it on.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if err := c.Start(); err != nil {
		return Result{ExitCode: -1}, err
	}
	if stdin != nil {
		// Not waited for: a reader that blocks must not outlive its command.
		go func() {
			_, _ = io.Copy(stdin, cmd.Stdin) // a command need not read all of it
			_ = stdin.Close()
		}()
	}

	ended := make(chan struct{})
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		h.killWhenDone(ctx, c.Process.Pid, ended)
	}()
	waitErr := waitLeader(c.Process.Pid)
	close(ended)
	<-killed
	// The leader is a zombie still, so its number cannot have been given to
	// another group.
	_ = unix.Kill(-c.Process.Pid, unix.SIGKILL)

	err := c.Wait()
	result := Result{ExitCode: exitCode(c.ProcessState), Stdout: stdout.String(), Stderr: stderr.String()}
	switch {
	case err != nil && ctx.Err() != nil:
		return result, fmt.Errorf("stopped (%w): %w", err, context.Cause(ctx))
	case err != nil:
		return result, err
	case waitErr != nil:
		return result, fmt.Errorf("waiting for the process: %w", waitErr)
	}
	return result, nil
}

// killWhenDone ends the process group of pid once ctx is done: SIGTERM, and
// SIGKILL after the grace period. It returns when ended is closed.
func (h Host) killWhenDone(ctx context.Context, pid int, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	_ = unix.Kill(-pid, unix.SIGTERM)
	grace := h.Grace
	if grace == 0 {
		grace = DefaultGrace
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		_ = unix.Kill(-pid, unix.SIGKILL)
		<-ended
	}
}

// waitLeader returns when pid has ended and leaves it as a zombie.
func waitLeader(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func exitCode(state *os.ProcessState) int {
	if state == nil {
		return -1
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}

// tail keeps the last MaxOutput bytes written to it.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if n > MaxOutput {
		p = p[n-MaxOutput:]
	}
	if len(t.buf)+len(p) > 2*MaxOutput {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-MaxOutput:]...)
	}
	t.buf = append(t.buf, p...)
	return n, nil
}

func (t *tail) String() string {
	if len(t.buf) > MaxOutput {
		return string(t.buf[len(t.buf)-MaxOutput:])
	}
	return string(t.buf)
}

func tee(t *tail, w io.Writer) io.Writer {
	if w == nil {
		return t
	}
	return io.MultiWriter(t, w)
}
