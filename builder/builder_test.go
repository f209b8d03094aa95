package builder

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
)

// prepared returns a build of the built-in profile with everything of it in a
// temporary directory, and what it tells the user.
func prepared(t *testing.T, overrides map[string]any) (*build, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	raw := map[string]any{
		"profile": "debian-13", "output_directory": filepath.Join(dir, "out"), "cache_directory": filepath.Join(dir, "cache"),
	}
	for k, v := range overrides {
		raw[k] = v
	}
	var b Builder
	if _, _, err := b.Prepare(raw); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	return &build{config: &b.config, ui: console.New(&said), host: runtest.New(t)}, &said
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	var b Builder
	variables, warnings, err := b.Prepare(map[string]any{"profile": "debian-13", "communicator": "none", "formats": []string{"raw", "qcow2", "raw"}})
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v, %v", warnings, err)
	}
	if diff := cmp.Diff([]string{"ProfileName", "ProfileSHA256", "Arch", "BaseKey"}, variables); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"qcow2", "raw"}, b.config.Formats); diff != "" {
		t.Errorf("formats (-want +got):\n%s", diff)
	}
	wd, err := os.Getwd()
	if err != nil || b.config.OutputDirectory != filepath.Join(wd, "output-debian-13") {
		t.Errorf("output directory %s", b.config.OutputDirectory)
	}
	if b.config.size != 8<<30 {
		t.Errorf("disk size %d", b.config.size)
	}
	if _, _, err := b.Prepare(map[string]any{"profile": "debian-13", "disk_size": "16GiB"}); err != nil || b.config.size != 16<<30 {
		t.Errorf("disk size %d, %v", b.config.size, err)
	}
}

func TestPrepareReportsAllProblems(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		raw  map[string]any
		want []string
	}{
		"everything": {
			map[string]any{"formats": []string{"vdi"}, "disk_size": "8G", "communicator": "ssh"},
			[]string{"profile: missing", "debian-13", `"vdi"`, `"8G"`, `"ssh"`},
		},
		"unknown profile": {map[string]any{"profile": "debian-99", "communicator": "ssh"}, []string{"debian-99", `"ssh"`}},
		"disk too small":  {map[string]any{"profile": "debian-13", "disk_size": "512MiB"}, []string{"root file system"}},
		"unknown key":     {map[string]any{"profile": "debian-13", "profil": "x"}, []string{"profil"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b Builder
			_, _, err := b.Prepare(tc.raw)
			if exitcode.Of(err) != exitcode.Usage {
				t.Fatalf("got %v, want bad input", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
		})
	}
}

func TestRunWithoutPrepare(t *testing.T) {
	t.Parallel()
	if _, err := new(Builder).Run(t.Context(), console.New(&bytes.Buffer{}), nil); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("got %v", err)
	}
}

// step is a step made of functions.
type step struct {
	run     func(context.Context, multistep.StateBag) multistep.StepAction
	cleanup func()
}

func (s *step) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	return s.run(ctx, state)
}

func (s *step) Cleanup(multistep.StateBag) {
	if s.cleanup != nil {
		s.cleanup()
	}
}

func TestNoStepHaltsSilently(t *testing.T) {
	t.Parallel()
	b, _ := prepared(t, nil)
	_, err := b.run(t.Context(), nil, []multistep.Step{&step{run: func(context.Context, multistep.StateBag) multistep.StepAction {
		return multistep.ActionHalt
	}}})
	if err == nil || exitcode.Of(err) != exitcode.Infrastructure {
		t.Errorf("a halt without a reason gave %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = b.run(ctx, nil, []multistep.Step{&step{run: func(context.Context, multistep.StateBag) multistep.StepAction {
		cancel()
		return multistep.ActionContinue
	}}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled build gave %v", err)
	}
}

func TestCleanupGoesBackAndItsErrorsCount(t *testing.T) {
	t.Parallel()
	b, said := prepared(t, nil)
	var order []int
	var steps []multistep.Step
	for i := range 3 {
		steps = append(steps, &step{
			run: func(_ context.Context, state multistep.StateBag) multistep.StepAction {
				if i == 2 {
					return b.fail(state, "doing it", exitcode.BadInput(errors.New("first reason")))
				}
				return multistep.ActionContinue
			},
			cleanup: func() { order = append(order, i) },
		})
	}
	_, err := b.run(t.Context(), nil, steps)
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "doing it: first reason") {
		t.Errorf("got %v", err)
	}
	if !slices.Equal(order, []int{2, 1, 0}) {
		t.Errorf("cleanup went %v", order)
	}
	if !strings.Contains(said.String(), "first reason") {
		t.Errorf("the user was told %q", said)
	}
	state := new(multistep.BasicStateBag)
	b.cleanup(state, "nothing", nil)
	if stateError(state) != nil {
		t.Error("a clean cleanup made an error")
	}
	b.cleanup(state, "removing x", errors.New("busy"))
	b.fail(state, "later", errors.New("second"))
	if err := stateError(state); err == nil || !strings.Contains(err.Error(), "cleaning up: removing x: busy") || !strings.Contains(err.Error(), "later: second") {
		t.Errorf("got %v", err)
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}
