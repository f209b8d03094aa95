package runtest_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
)

// recorder stands in for the test that uses the fake.
type recorder struct {
	testing.TB
	errors   []string
	cleanups []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func TestFake(t *testing.T) {
	t.Parallel()
	rec := &recorder{}
	fake := runtest.New(rec)
	fake.Expect("uname", "-r").Returns("6.12\n")
	fake.Expect("false").Fails(1, "no")
	fake.Expect("never").Returns("")

	res, err := fake.Run(t.Context(), run.Cmd{Argv: []string{"uname", "-r"}})
	if err != nil || res.Stdout != "6.12\n" {
		t.Errorf("got %+v, %v", res, err)
	}
	res, err = fake.Run(t.Context(), run.Cmd{Argv: []string{"false"}})
	var runErr *run.Error
	if !errors.As(err, &runErr) || res.ExitCode != 1 || res.Stderr != "no" {
		t.Errorf("got %+v, %v", res, err)
	}
	if _, err := fake.Run(t.Context(), run.Cmd{Argv: []string{"uname", "-r"}}); err == nil {
		t.Error("a command expected once was accepted twice")
	}
	for _, f := range rec.cleanups {
		f()
	}
	want := []string{"unexpected command: uname -r", "expected command never came: never"}
	if diff := cmp.Diff(want, rec.errors); diff != "" {
		t.Errorf("failures of the using test (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][]string{{"uname", "-r"}, {"false"}, {"uname", "-r"}}, fake.Calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}
