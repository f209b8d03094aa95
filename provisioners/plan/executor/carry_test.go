package executor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/programtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

// everything is a plan with each kind of step below dir, a large file and
// names that a shell would stumble over.
func everything(t *testing.T, dir string) plan.Plan {
	t.Helper()
	big := filepath.Join(t.TempDir(), "big")
	data := []byte(strings.Repeat("0123456789abcdef", (smallFile/16)+1))
	if err := os.WriteFile(big, data, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	at := func(name string) string { return filepath.Join(dir, name) }
	return plan.Plan{Name: "all", Steps: []plan.Step{
		{Why: "w", Directory: &plan.Directory{Path: at("d ir"), Mode: 0o750}},
		{Why: "w", File: &plan.File{Path: at("new/dir/$(touch pwned) 'f'"), Mode: 0o640, Content: "`x` $HOME\n'\n"}},
		{Why: "w", File: &plan.File{Path: at("empty"), Mode: 0o444}},
		{Why: "w", File: &plan.File{Path: at("bin/big"), Mode: 0o755, Component: "big 1", Source: big, SHA256: hex.EncodeToString(sum[:])}},
		{Why: "w", Link: &plan.Link{Path: at("link"), Target: "../some where|else"}},
		{Why: "w", Remove: &plan.Remove{Paths: []string{at("gone/*.log"), at("gone/.[!.]*"), at("absent")}}},
		{Why: "w", Unit: &plan.Unit{Name: "a.service", State: plan.UnitEnabled}},
		{Why: "w", Unit: &plan.Unit{Name: "b.timer", State: plan.UnitDisabled}},
		{Why: "w", Unit: &plan.Unit{Name: "c.service", State: plan.UnitMasked}},
		{Why: "w", Unit: &plan.Unit{Name: "not-there.service", State: plan.UnitDisabled}},
		{Why: "w", Command: &plan.Command{
			Argv:   []string{"sh", "-c", `cat "$NODEIMAGE_STAGE/1.txt" >"$1"; echo "$V" >>"$1"`, "sh", at("made")},
			Env:    map[string]string{"V": "a b"},
			Unless: []string{"test", "-e", at("made")},
			Stage:  []plan.File{{Path: "1.txt", Mode: 0o600, Content: "staged\n"}},
		}},
		{Why: "w", File: &plan.File{Path: at("after"), Mode: 0o600, Content: "the command\n"}},
	}}
}

func TestCarryTwice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, comm := machine(t, map[string]string{"a.service": "disabled", "b.timer": "enabled", "c.service": "static"})
	for _, name := range []string{"gone/1.log", "gone/2.log", "gone/.hidden", "gone/keep.txt"} {
		write(t, filepath.Join(dir, name), "x")
	}
	p := everything(t, dir)

	report, err := target.Carry(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	var unchanged []string
	for _, s := range report.Steps {
		if !s.Changed {
			unchanged = append(unchanged, s.What)
		}
	}
	if diff := cmp.Diff([]string{"unit not-there.service disabled"}, unchanged); diff != "" {
		t.Errorf("steps that changed nothing at first (-want +got):\n%s", diff)
	}
	if left := comm.leftovers(); len(left) > 0 {
		t.Errorf("left on the machine: %v", left)
	}
	if got, want := read(t, filepath.Join(dir, "new/dir/$(touch pwned) 'f'")), "`x` $HOME\n'\n"; got != want {
		t.Errorf("content %q, want %q", got, want)
	}
	if got, want := read(t, filepath.Join(dir, "made")), "staged\na b\n"; got != want {
		t.Errorf("command made %q, want %q", got, want)
	}
	for name, want := range map[string]os.FileMode{"d ir": os.ModeDir | 0o750, "empty": 0o444, "bin/big": 0o755, "after": 0o600, "link": os.ModeSymlink | 0o777, "new": os.ModeDir | 0o755} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
		}
	}
	if got, _ := filepath.Glob(filepath.Join(dir, "gone", "*")); !cmp.Equal(got, []string{filepath.Join(dir, "gone/keep.txt")}) {
		t.Errorf("after removing, gone has %v", got)
	}
	if _, err := os.Lstat(filepath.Join(dir, "gone/.hidden")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("gone/.hidden is still there (%v)", err)
	}

	comm.reset()
	report, err = target.Carry(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range report.Steps {
		if s.Changed {
			t.Errorf("the second time changed: %s", s.What)
		}
	}
	if len(comm.uploads) > 0 || len(comm.commands) != 3 {
		t.Errorf("the second time uploaded %v and ran %d commands, want none and 3 (state, guard, state)", comm.uploads, len(comm.commands))
	}
}

func TestCarryRepairs(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(dir string) error{
		"file /": func(dir string) error { return os.Chmod(filepath.Join(dir, "bin/big"), 0o700) },
		"content": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "after"), []byte("THE COMMAND\n"), 0o600)
		},
		"link":      func(dir string) error { return os.Remove(filepath.Join(dir, "link")) },
		"directory": func(dir string) error { return os.Chmod(filepath.Join(dir, "d ir"), 0o700) },
		"file became a link": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "empty")), os.Symlink("/etc/passwd", filepath.Join(dir, "empty")))
		},
		"removed came back": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "absent"), nil, 0o600)
		},
		"command undone": func(dir string) error { return os.Remove(filepath.Join(dir, "made")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			target, _ := machine(t, map[string]string{"a.service": "enabled", "b.timer": "disabled", "c.service": "masked"})
			p := everything(t, dir)
			if _, err := target.Carry(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			report, err := target.Carry(t.Context(), p)
			if err != nil || report.Changed() != 1 {
				t.Fatalf("after spoiling one thing: %d changes, %v; want 1", report.Changed(), err)
			}
			report, err = target.Carry(t.Context(), p)
			if err != nil || report.Changed() != 0 {
				t.Fatalf("after repairing it: %d changes, %v; want 0", report.Changed(), err)
			}
		})
	}
}

func TestCarryErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one := func(s plan.Step) plan.Plan { s.Why = "the reason"; return plan.Plan{Name: "p", Steps: []plan.Step{s}} }
	write(t, filepath.Join(dir, "file"), "x")
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		plan plan.Plan
		want []string
		code int
	}{
		{"invalid", plan.Plan{Name: "p", Steps: []plan.Step{{Why: "w"}}}, []string{"0 actions"}, exitcode.Usage},
		{"unresolved", one(plan.Step{File: &plan.File{Path: "/a", Mode: 0o644, Component: "ctr 2"}}), []string{"without its components: ctr 2"}, exitcode.Usage},
		{"command", one(plan.Step{Command: &plan.Command{Argv: []string{"sh", "-c", "echo one; echo two >&2; exit 3"}, Idempotent: true}}),
			[]string{`plan "p"`, "step 1", "the reason", "exit status 3", "two"}, exitcode.Infrastructure},
		{"directory in the way", one(plan.Step{File: &plan.File{Path: dir + "/directory", Mode: 0o644}}), []string{"step 1", "is a directory, want a file"}, exitcode.Infrastructure},
		{"file in the way", one(plan.Step{Directory: &plan.Directory{Path: dir + "/file", Mode: 0o755}}), []string{"regular", "want a directory"}, exitcode.Infrastructure},
		{"parent is a file", one(plan.Step{File: &plan.File{Path: dir + "/file/below", Mode: 0o644}}), []string{"step 1: file " + dir + "/file/below", "the reason"}, exitcode.Infrastructure},
		{"unit absent", one(plan.Step{Unit: &plan.Unit{Name: "no.service", State: plan.UnitEnabled}}), []string{"no.service enabled", "does not exist"}, exitcode.Infrastructure},
		{"unit static", one(plan.Step{Unit: &plan.Unit{Name: "static.service", State: plan.UnitEnabled}}), []string{"no [Install] section"}, exitcode.Infrastructure},
		{"source missing", one(plan.Step{File: &plan.File{Path: dir + "/n", Mode: 0o644, Component: "ctr 2", Source: dir + "/none", SHA256: strings.Repeat("0", 64)}}),
			[]string{"ctr 2", "no such file"}, exitcode.Infrastructure},
		{"source is not what it was", one(plan.Step{File: &plan.File{Path: dir + "/n", Mode: 0o644, Component: "ctr 2", Source: dir + "/file", SHA256: strings.Repeat("0", 64)}}),
			[]string{"not what was sent"}, exitcode.Infrastructure},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			target, comm := machine(t, map[string]string{"static.service": "static"})
			report, err := target.Carry(t.Context(), test.plan)
			if err == nil {
				t.Fatal("Carry succeeded")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q lacks %q", err, part)
				}
			}
			if code := exitcode.Of(err); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if test.code == exitcode.Usage && len(comm.commands) > 0 {
				t.Errorf("the machine was touched: %v", comm.commands)
			}
			if _, err := os.Stat(dir + "/n"); err == nil {
				t.Error("a bad file got into its place")
			}
			if report.Changed() > 0 && test.name != "unit static" {
				t.Errorf("reported %d changes", report.Changed())
			}
			if left := comm.leftovers(); len(left) > 0 {
				t.Errorf("left on the machine: %v", left)
			}
		})
	}
}

// What the login works by goes when nothing else is to be done, whatever else was
// uploaded and whichever units were changed.
func TestLast(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, comm := machine(t, map[string]string{"a.service": "disabled", "b.timer": "enabled", "c.service": "static"})
	comm.rights = filepath.Join(dir, "sudoers")
	write(t, comm.rights, "x")
	p := everything(t, dir)
	p.Steps = append(p.Steps, plan.Step{Why: "the reason", Remove: &plan.Remove{Paths: []string{comm.rights}}, Last: true})
	report, err := target.Carry(t.Context(), p)
	if err != nil || !report.Steps[len(p.Steps)-1].Changed {
		t.Fatalf("%+v, %v", report, err)
	}
	if _, err := os.Lstat(comm.rights); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if left := comm.leftovers(); len(left) > 0 {
		t.Errorf("left on the machine: %v", left)
	}
	// As root, who needs no such right: there is nothing left to do.
	comm.rights = ""
	comm.reset()
	if report, err = target.Carry(t.Context(), p); err != nil || report.Changed() != 0 {
		t.Errorf("the second time: %d changes, %v", report.Changed(), err)
	}
	// A plan that fails keeps it, or nobody could mend the machine.
	write(t, filepath.Join(dir, "sudoers"), "x")
	p.Steps[10].Command.Unless, p.Steps[10].Command.Argv = []string{"false"}, []string{"false"}
	if _, err := target.Carry(t.Context(), p); err == nil {
		t.Error("it did not fail")
	}
	if _, err := os.Lstat(filepath.Join(dir, "sudoers")); err != nil {
		t.Errorf("after a failure: %v", err)
	}
}

// A removal that removes nothing is said to have failed, by the step it is.
func TestLastIsLookedAt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, _ := machine(t, nil)
	file := filepath.Join(dir, "sudoers")
	write(t, file, "x")
	first, _, _ := strings.Cut(target.path, ":")
	if err := programtest.WriteFile(filepath.Join(first, "rm"), []byte("#!/bin/sh\n")); err != nil {
		t.Fatal(err)
	}
	report, err := target.Carry(t.Context(), plan.Plan{Name: "p", Steps: []plan.Step{{Why: "the reason", Remove: &plan.Remove{Paths: []string{file}}, Last: true}}})
	if err == nil || !strings.Contains(err.Error(), `plan "p", step 1: remove `+file+` (the reason)`) || !strings.Contains(err.Error(), "is still there") || report.Changed() != 0 {
		t.Errorf("%d changes, %v", report.Changed(), err)
	}
}

func TestCutUpload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, comm := machine(t, map[string]string{"a.service": "disabled"})
	comm.cut = true
	p := everything(t, dir)
	p.Steps = p.Steps[3:4] // the large file
	_, err := target.Carry(t.Context(), p)
	if err == nil || exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(err.Error(), "not what was sent") {
		t.Fatalf("Carry with a cut upload = %v, want a transient error", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "bin/big")); err == nil {
		t.Error("half a file got into its place")
	}
	if left := comm.leftovers(); len(left) > 0 {
		t.Errorf("left on the machine: %v", left)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, comm := machine(t, map[string]string{"a.service": "disabled"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := everything(t, dir)
	p.Steps[10].Command.Argv = []string{"sleep", "60"}
	comm.onUpload = func(string) error {
		if contains(comm.commands, "test -e") { // the guard: now comes the command
			time.AfterFunc(200*time.Millisecond, cancel)
		}
		return nil
	}
	start := time.Now()
	_, err := target.Carry(ctx, p)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Carry = %v, want context.Canceled", err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("cancelling took %v", d)
	}
	if left := comm.leftovers(); len(left) > 0 {
		t.Errorf("left on the machine: %v", left)
	}
	if _, err := os.Stat(filepath.Join(dir, "after")); err == nil {
		t.Error("a step after the cancelled one was carried out")
	}
}

func TestManySteps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, comm := machine(t, nil)
	p := plan.Plan{Name: "many"}
	for range 300 { // more than one script holds
		name := filepath.Join(dir, strings.Repeat("x", 150), "f"+string(rune('a'+len(p.Steps)%26))+strings.Repeat("y", len(p.Steps)/26))
		p.Steps = append(p.Steps, plan.Step{Why: "w", Directory: &plan.Directory{Path: name, Mode: 0o755}})
	}
	report, err := target.Carry(t.Context(), p)
	if err != nil || report.Changed() != 300 {
		t.Fatalf("%d changes, %v; want 300", report.Changed(), err)
	}
	for _, c := range comm.commands {
		if len(c) > 128<<10 {
			t.Errorf("a command of %d bytes is more than Linux takes", len(c))
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	target, _ := machine(t, nil)
	res, err := target.Run(t.Context(), run.Cmd{
		Argv: []string{"sh", "-c", `cat; echo "$A" "$PWD"; printf '%s|' "$@"`, "sh", "a b", "$(id)", "it's"},
		Env:  []string{"A=x y"}, Dir: "/", Stdin: strings.NewReader("in\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "in\nx y /\na b|$(id)|it's|"; res.Stdout != want {
		t.Errorf("output %q, want %q", res.Stdout, want)
	}
	_, err = target.Run(t.Context(), run.Cmd{Argv: []string{"sh", "-c", "exit 7"}})
	var failed *run.Error
	if !errors.As(err, &failed) || failed.Result.ExitCode != 7 {
		t.Errorf("Run = %v, want *run.Error with exit code 7", err)
	}
}
