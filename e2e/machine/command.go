package machine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// killWait is how long a cancelled command may take to be gone before its
// session is closed under it.
const killWait = 5 * time.Second

// Run implements run.Runner. Stdin, if any, is copied until the command ends.
// A command that a signal ended has the exit code 128 + the signal's number. A
// cancelled one is killed on the node.
func (g *Guest) Run(ctx context.Context, cmd run.Cmd) (run.Result, error) {
	result, err := g.run(ctx, cmd)
	if err != nil {
		return result, &run.Error{Where: g.name, Argv: cmd.Argv, Result: result, Err: err}
	}
	return result, nil
}

func (g *Guest) run(ctx context.Context, cmd run.Cmd) (run.Result, error) {
	failed := run.Result{ExitCode: -1}
	if len(cmd.Argv) == 0 {
		return failed, errors.New("no command was given")
	}
	l, session, err := g.session(ctx)
	if err != nil {
		return failed, err
	}
	defer g.release(l)
	defer func() { _ = session.Close() }() // io.EOF when the server closed first

	stdout, stderr := &output{copy: cmd.Stdout}, &output{copy: cmd.Stderr}
	session.Stdout, session.Stderr = stdout, stderr
	if cmd.Stdin != nil {
		stdin, err := session.StdinPipe()
		if err != nil {
			return failed, fmt.Errorf("%w: opening standard input: %w", ErrConnection, err)
		}
		// Not session.Stdin: Wait would wait for the reader, too, which may
		// block for ever after the command has ended.
		go func() {
			_, _ = io.Copy(stdin, cmd.Stdin) // a command need not read all of it
			_ = stdin.Close()
		}()
	}
	mark := ""
	if g.user != "root" {
		mark = rand.Text()
	}
	if err := session.Start(commandLine(g.user, mark, cmd)); err != nil {
		return failed, fmt.Errorf("%w: %w", ErrConnection, err)
	}
	err = g.wait(ctx, session, func() {
		if mark != "" {
			killMarked(context.WithoutCancel(ctx), l, mark)
		}
	})
	result := run.Result{ExitCode: -1, Stdout: stdout.end(), Stderr: stderr.end()}
	var exit *ssh.ExitError
	switch {
	case err == nil:
		result.ExitCode = 0
	case ctx.Err() != nil:
		return result, fmt.Errorf("stopped (%w): %w", err, context.Cause(ctx))
	case errors.As(err, &exit):
		result.ExitCode = exit.ExitStatus()
		return result, exitError(exit)
	default:
		return result, fmt.Errorf("%w: it broke while the command ran: %w", ErrConnection, g.orGone(err))
	}
	return result, nil
}

// session opens a session, on a new connection if the one at hand turns out
// to be dead.
func (g *Guest) session(ctx context.Context) (*link, *ssh.Session, error) {
	for attempt := 0; ; attempt++ {
		l, err := g.acquire(ctx)
		if err != nil {
			return nil, nil, err
		}
		session, err := openSession(ctx, l)
		if err == nil {
			return l, session, nil
		}
		g.release(l)
		_ = l.client.Close() // it is of no use to anybody
		if attempt > 0 || ctx.Err() != nil {
			return nil, nil, fmt.Errorf("%w: %s: opening a session: %w", ErrConnection, g.name, g.orGone(err))
		}
		<-l.dead
	}
}

// openSession is client.NewSession with a context.
func openSession(ctx context.Context, l *link) (*ssh.Session, error) {
	return onLink(ctx, l, l.client.NewSession)
}

// onLink opens something on a connection and gives up when ctx is done or the
// connection ends. The library does neither: a channel that is asked for in
// the moment in which the connection ends is waited for without end.
func onLink[T io.Closer](ctx context.Context, l *link, open func() (T, error)) (T, error) {
	type opened struct {
		it  T
		err error
	}
	done := make(chan opened, 1)
	go func() {
		it, err := open()
		done <- opened{it, err}
	}()
	var err error
	select {
	case o := <-done:
		return o.it, o.err
	case <-l.dead:
		err = net.ErrClosed
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	go func() {
		if o := <-done; o.err == nil {
			_ = o.it.Close() // nobody wants it any more
		}
	}()
	var none T
	return none, err
}

// killScript kills what has the mark in its environment: the command and all that
// it started. This shell has it among its arguments alone.
const killScript = `for e in $(grep -lzxF "$1=$2" /proc/[0-9]*/environ 2>/dev/null); do p=${e#/proc/}; kill -KILL "${p%/environ}"; done`

// markVariable is what a command has its mark in.
const markVariable = "NODEIMAGE_COMMAND"

// killMarked kills a command that runs by sudo. sshd signals as the login, whom
// the command does not belong to.
func killMarked(ctx context.Context, l *link, mark string) {
	ctx, cancel := context.WithTimeout(ctx, killWait)
	defer cancel()
	session, err := openSession(ctx, l)
	if err != nil {
		return // it ends with the connection, or at its next output
	}
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	defer stop()
	// That nothing was there to be killed is as good.
	_ = session.Run(run.Quote([]string{"sudo", "-n", "--", "sh", "-c", killScript, "sh", markVariable, mark}))
	_ = session.Close()
}

// wait returns when the command has ended, the connection broke, or the
// context was done and the command killed, by kill where signals do not reach it.
func (g *Guest) wait(ctx context.Context, session *ssh.Session, kill func()) error {
	done := make(chan error, 1)
	go func() { done <- session.Wait() }()
	select {
	case err := <-done:
		return err
	case <-g.gone:
		_ = session.Close()
		return g.why()
	case <-ctx.Done():
	}
	_ = session.Signal(ssh.SIGKILL) // sshd passes it to the command's process group
	kill()
	select {
	case err := <-done:
		if err == nil {
			err = errors.New("it had just ended")
		}
		return err
	case <-time.After(killWait):
		_ = session.Close()
		return errors.New("it did not die, its session was closed")
	}
}

// orGone prefers the reason why the node is gone over what the connection saw.
func (g *Guest) orGone(err error) error {
	select {
	case <-g.gone:
		return g.why()
	default:
		return err
	}
}

// exitError renders what the server said about the end of a command.
func exitError(exit *ssh.ExitError) error {
	if exit.Signal() != "" {
		return fmt.Errorf("signal %s", exit.Signal())
	}
	return fmt.Errorf("exit status %d", exit.ExitStatus())
}

// commandLine renders a command for the login shell. The shell only splits
// it; directory and environment are set by programs, not by shell syntax that
// would have to be quoted twice.
//
// A command that runs by sudo has a mark, by which it can be found.
func commandLine(user, mark string, cmd run.Cmd) string {
	argv := cmd.Argv
	if len(cmd.Env) > 0 {
		argv = append(append([]string{"env"}, cmd.Env...), argv...)
	}
	if cmd.Dir != "" {
		argv = append([]string{"sh", "-c", `cd -- "$1" && shift && exec "$@"`, "sh", cmd.Dir}, argv...)
	}
	if user != "root" {
		argv = append([]string{"sudo", "-n", "--", "env", markVariable + "=" + mark}, argv...)
	}
	return run.Quote(argv)
}

// output is one stream of a command: it keeps the last run.MaxOutput bytes and
// hands all of them on. A command that was given up may still be writing.
type output struct {
	copy io.Writer // may be nil

	mu    sync.Mutex
	ended bool
	tail  []byte
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return 0, io.ErrClosedPipe
	}
	o.tail = append(o.tail, p...)
	if len(o.tail) > 2*run.MaxOutput {
		o.tail = append(o.tail[:0], o.tail[len(o.tail)-run.MaxOutput:]...)
	}
	if o.copy == nil {
		return len(p), nil
	}
	return o.copy.Write(p)
}

// end returns what was kept; nothing is written from then on, so that the
// caller has its writer for itself again.
func (o *output) end() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	return string(o.tail[max(0, len(o.tail)-run.MaxOutput):])
}
