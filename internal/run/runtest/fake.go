// Package runtest has a scripted run.Runner for tests.
package runtest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// Fake is a run.Runner that knows only the commands it was told to expect.
// An unexpected command fails the test and the call; an expected command that
// never came fails the test when it ends. It is safe for concurrent use.
type Fake struct {
	t     testing.TB
	mu    sync.Mutex
	calls [][]string
	want  []*Call
}

var _ run.Runner = (*Fake)(nil)

// New returns a Fake that expects nothing yet.
func New(t testing.TB) *Fake {
	t.Helper()
	f := &Fake{t: t}
	t.Cleanup(f.checkAllCame)
	return f
}

// Call is one expected command.
type Call struct {
	name     string
	match    func(run.Cmd) bool
	result   run.Result
	err      error
	do       func(context.Context, run.Cmd) error
	repeated bool
	came     int
}

// Expect adds a command with exactly this argv, which comes once. The same
// argv may be expected several times; the answers are given in that order.
func (f *Fake) Expect(argv ...string) *Call {
	return f.ExpectFunc(run.Quote(argv), func(c run.Cmd) bool { return slices.Equal(c.Argv, argv) })
}

// ExpectFunc adds a command that match recognizes; name is for messages.
func (f *Fake) ExpectFunc(name string, match func(run.Cmd) bool) *Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &Call{name: name, match: match}
	f.want = append(f.want, c)
	return c
}

// Returns sets what the command prints on standard output; it exits 0.
func (c *Call) Returns(stdout string) *Call {
	c.result.Stdout = stdout
	return c
}

// Fails makes the command exit with code and stderr.
func (c *Call) Fails(code int, stderr string) *Call {
	c.result.ExitCode, c.result.Stderr = code, stderr
	c.err = fmt.Errorf("exit status %d", code)
	return c
}

// Does runs fn in the command's place, before its answer is given; an error
// of fn is the command's error.
func (c *Call) Does(fn func(context.Context, run.Cmd) error) *Call {
	c.do = fn
	return c
}

// AnyTimes lets the command come any number of times, also never.
func (c *Call) AnyTimes() *Call {
	c.repeated = true
	return c
}

// Run implements run.Runner.
func (f *Fake) Run(ctx context.Context, cmd run.Cmd) (run.Result, error) {
	call := f.take(cmd)
	if call == nil {
		f.t.Errorf("unexpected command: %s", run.Quote(cmd.Argv))
		return run.Result{ExitCode: 127}, &run.Error{Where: "fake", Argv: cmd.Argv, Err: fmt.Errorf("unexpected command")}
	}
	result, err := call.result, call.err
	if ctx.Err() != nil {
		result, err = run.Result{ExitCode: -1}, context.Cause(ctx)
	} else if call.do != nil {
		if doErr := call.do(ctx, cmd); doErr != nil {
			result.ExitCode, err = 1, doErr
		}
	}
	copyTo(cmd.Stdout, result.Stdout)
	copyTo(cmd.Stderr, result.Stderr)
	if err != nil {
		return result, &run.Error{Where: "fake", Argv: cmd.Argv, Result: result, Err: err}
	}
	return result, nil
}

// Calls returns the argv of every command so far, in order.
func (f *Fake) Calls() [][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

func (f *Fake) take(cmd run.Cmd) *Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, slices.Clone(cmd.Argv))
	for _, c := range f.want {
		if (c.came == 0 || c.repeated) && c.match(cmd) {
			c.came++
			return c
		}
	}
	return nil
}

func (f *Fake) checkAllCame() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.want {
		if c.came == 0 && !c.repeated {
			f.t.Errorf("expected command never came: %s", c.name)
		}
	}
}

func copyTo(w io.Writer, s string) {
	if w != nil {
		_, _ = io.WriteString(w, s)
	}
}
