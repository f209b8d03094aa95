package builder

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/chroot"
)

func TestProvisionWaitsForACancelledHook(t *testing.T) {
	t.Parallel()
	b, _ := prepared(t, nil)
	comm, err := chroot.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b.comm = comm
	t.Cleanup(func() { comm.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	returned := false
	hook := &packersdk.MockHook{RunFunc: func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		time.Sleep(200 * time.Millisecond)
		returned = true
		return errors.New("provisioner was interrupted")
	}}
	state := new(multistep.BasicStateBag)
	state.Put("hook", hook)
	if (&stepProvision{build: b}).Run(ctx, state) != multistep.ActionHalt {
		t.Error("the build went on")
	}
	if !returned {
		t.Error("the step did not wait for the provisioner")
	}
	if err := stateError(state); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("got %v", err)
	}
	data, _ := state.Get("generated_data").(map[string]any)
	if data["PackerRunUUID"] == nil {
		t.Errorf("generated data: %v", data)
	}
}

func TestCommunicatorNone(t *testing.T) {
	t.Parallel()
	b, _ := prepared(t, map[string]any{"communicator": "none"})
	hook := new(packersdk.MockHook)
	state := new(multistep.BasicStateBag)
	state.Put("hook", hook)
	if (&stepProvision{build: b}).Run(t.Context(), state) != multistep.ActionContinue {
		t.Fatal(stateError(state))
	}
	if !hook.RunCalled || hook.RunComm != nil {
		t.Errorf("called %v with %v, want no communicator", hook.RunCalled, hook.RunComm)
	}
}
