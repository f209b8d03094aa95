package builder

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func TestLockOutput(t *testing.T) {
	t.Parallel()
	b, said := prepared(t, nil)
	state := new(multistep.BasicStateBag)
	first, second := &stepLockOutput{build: b}, &stepLockOutput{build: b}
	if first.Run(t.Context(), state) != multistep.ActionContinue {
		t.Fatal(stateError(state))
	}
	// The second waits, and gives up when it is told to.
	ctx, cancel := context.WithTimeout(t.Context(), 3*lockPoll)
	defer cancel()
	if err := second.lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second build got %v", err)
	}
	if !strings.Contains(said.String(), "waiting") {
		t.Errorf("the user was told %q", said)
	}
	got := make(chan error, 1)
	go func() { got <- second.lock(t.Context()) }()
	time.Sleep(lockPoll)
	first.Cleanup(state) // fails, and removes the empty directory it made
	if err := <-got; err != nil {
		t.Errorf("the second build got %v after the first ended", err)
	}
	if !same(second.dir, b.config.OutputDirectory) {
		t.Error("the second build holds a directory that is gone")
	}
	second.Cleanup(state)
	second.Cleanup(state)
	if _, err := os.Stat(b.config.OutputDirectory); err == nil {
		t.Error("a directory that a failed build made is left")
	}
}

func TestOldOutputs(t *testing.T) {
	t.Parallel()
	for _, force := range []bool{false, true} {
		b, _ := prepared(t, map[string]any{"packer_force": force})
		out := b.config.OutputDirectory
		write(t, out, map[string]string{
			"debian-13.qcow2": "old", "debian-13.manifest.json": "old", "other.qcow2": "not ours", partialPrefix + "debian-13.raw": "half",
		})
		s := &stepLockOutput{build: b}
		state := new(multistep.BasicStateBag)
		if s.Run(t.Context(), state) != multistep.ActionContinue {
			t.Fatal(stateError(state))
		}
		s.Cleanup(state)
		want := []string{"debian-13.manifest.json", "debian-13.qcow2", "other.qcow2"}
		if force {
			want = []string{"other.qcow2"}
		}
		if diff := cmp.Diff(want, names(t, out)); diff != "" {
			t.Errorf("force %v: files (-want +got):\n%s", force, diff)
		}
	}
	b, _ := prepared(t, map[string]any{"packer_force": true})
	write(t, b.config.OutputDirectory, map[string]string{"debian-13.raw/keep": "a directory"})
	s := &stepLockOutput{build: b}
	state := new(multistep.BasicStateBag)
	if s.Run(t.Context(), state) != multistep.ActionHalt || exitcode.Of(stateError(state)) != exitcode.Usage {
		t.Errorf("a directory in the way gave %v", stateError(state))
	}
	s.Cleanup(state)
}
