// Package executor carries plans out on a machine behind any Packer
// communicator: a chroot, or a virtual machine over SSH, as root or by sudo.
//
// On the machine it needs a POSIX shell, coreutils and tar, and systemctl for
// units. It asks for the state of many things in one command and uploads only
// what differs, so carrying out a plan a second time changes nothing.
package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

// cancelGrace is how long a cancelled command may take to end before its
// caller goes on, and how long clean-up after a failure may take.
const cancelGrace = 15 * time.Second

// searchPath is PATH on the machine: that of an unprivileged login, and
// sudo's own, may lack the sbin directories.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Target is a machine to work on. It implements run.Runner with root's rights.
type Target struct {
	// Progress, when set, gets a line before whatever may take seconds.
	Progress func(string)

	comm  packersdk.Communicator
	sudo  bool
	owner string // uid:gid of everything placed
	path  string
}

var _ run.Runner = (*Target)(nil)

// New looks at who the communicator logs in as. Anyone but root must be able
// to use sudo without a password.
func New(ctx context.Context, comm packersdk.Communicator) (*Target, error) {
	t := &Target{comm: comm, owner: "0:0", path: searchPath}
	res, err := t.shell(ctx, "id -u", run.Cmd{})
	if err != nil {
		return nil, fmt.Errorf("asking the machine who the login is: %w", err)
	}
	uid := strings.TrimSpace(res.Stdout)
	if uid == "0" {
		return t, nil
	}
	if _, err := t.shell(ctx, "sudo -n true", run.Cmd{}); err != nil {
		var failed *run.Error
		if errors.As(err, &failed) && failed.Result.ExitCode > 0 && failed.Result.ExitCode != packersdk.CmdDisconnect {
			err = exitcode.BadInput(err)
		}
		return nil, fmt.Errorf("the login has user id %s and needs sudo without a password on the machine (log in as root, or add a NOPASSWD rule): %w", uid, err)
	}
	t.sudo = true
	return t, nil
}

// Run implements run.Runner. Env is set for the command alone.
func (t *Target) Run(ctx context.Context, cmd run.Cmd) (run.Result, error) {
	if len(cmd.Argv) == 0 {
		return run.Result{}, &run.Error{Where: "guest", Err: errors.New("no command was given")}
	}
	words := append([]string{"env", "LC_ALL=C.UTF-8"}, cmd.Env...)
	line := "exec " + run.Quote(append(words, cmd.Argv...))
	if cmd.Dir != "" {
		line = "cd " + run.Quote([]string{cmd.Dir}) + " && " + line
	}
	cmd.Argv = plan.Abbreviate(cmd.Argv) // from here on only for messages
	return t.rootShell(ctx, line, cmd)
}

func (t *Target) progress(format string, args ...any) {
	if t.Progress != nil {
		t.Progress(fmt.Sprintf(format, args...))
	}
}

// rootShell runs a shell script with root's rights.
func (t *Target) rootShell(ctx context.Context, script string, cmd run.Cmd) (run.Result, error) {
	words := []string{"sh", "-c", "PATH=" + t.path + "; export PATH; umask 022; " + script}
	if t.sudo {
		words = append([]string{"sudo", "-n", "--"}, words...)
	}
	return t.shell(ctx, run.Quote(words), cmd)
}

// shell runs one command line as the login, and waits for it.
func (t *Target) shell(ctx context.Context, line string, cmd run.Cmd) (run.Result, error) {
	argv := cmd.Argv
	if len(argv) == 0 {
		argv = []string{"sh", "-c", line}
	}
	fail := func(res run.Result, err error) (run.Result, error) {
		return res, &run.Error{Where: "guest", Argv: argv, Result: res, Err: err}
	}
	if err := ctx.Err(); err != nil {
		return fail(run.Result{}, err)
	}
	stdout, stderr := &tail{tee: cmd.Stdout}, &tail{tee: cmd.Stderr}
	remote := &packersdk.RemoteCmd{Command: line, Stdin: cmd.Stdin, Stdout: stdout, Stderr: stderr}
	if err := t.comm.Start(ctx, remote); err != nil {
		return fail(run.Result{}, exitcode.Transient(fmt.Errorf("starting it: %w", err)))
	}
	done := make(chan int, 1)
	go func() { done <- remote.Wait() }()
	select {
	case code := <-done:
		res := run.Result{ExitCode: code, Stdout: stdout.String(), Stderr: stderr.String()}
		switch {
		case ctx.Err() != nil:
			return fail(res, ctx.Err())
		case code == packersdk.CmdDisconnect:
			return fail(res, exitcode.Transient(errors.New("the connection to the machine was lost")))
		case code != 0:
			return fail(res, fmt.Errorf("exit status %d", code))
		}
		return res, nil
	case <-ctx.Done():
		// A communicator that heeds the context ends the command now; wait
		// for it, so that nothing writes behind the caller's back.
		select {
		case <-done:
		case <-time.After(cancelGrace):
		}
		return fail(run.Result{Stderr: stderr.String()}, ctx.Err())
	}
}

// tail keeps the last run.MaxOutput bytes and passes everything on.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
	tee io.Writer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if over := t.buf.Len() - 2*run.MaxOutput; over > 0 {
		t.buf.Next(t.buf.Len() - run.MaxOutput)
	}
	if t.tee != nil {
		return t.tee.Write(p)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.buf.Bytes()
	return string(b[max(0, len(b)-run.MaxOutput):])
}
