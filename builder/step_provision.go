package builder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// hookPatience is how long a cancelled provisioner may take to return after
// its commands in the image were ended.
const hookPatience = 30 * time.Second

// errCancelled is why commands in the image are ended.
var errCancelled = errors.New("the build was cancelled")

// stepProvision runs Packer's provisioners on the image. Unlike the SDK's step
// of the same name it ends their commands when the build is cancelled and waits
// for them, so that nothing works on files that are being removed.
//
// Uses build.comm.
type stepProvision struct{ *build }

func (s *stepProvision) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	s.ui.Say("Provisioning")
	// Without it the SDK logs a complaint on every build.
	state.Put("communicator_config", &communicator.Config{Type: s.config.Communicator})
	data := commonsteps.PopulateProvisionHookData(state)
	state.Put("generated_data", data)
	if err := s.runHook(ctx, state, packersdk.HookProvision, data); err != nil {
		return s.fail(state, "provisioning", err)
	}
	return multistep.ActionContinue
}

// runHook runs a hook of Packer's core until it returns, or, after a
// cancellation, for as long as it may reasonably take.
func (s *stepProvision) runHook(ctx context.Context, state multistep.StateBag, name string, data any) error {
	hook, ok := state.Get("hook").(packersdk.Hook)
	if !ok || hook == nil {
		return nil
	}
	var comm packersdk.Communicator
	if s.config.Communicator != communicatorNone {
		comm = s.comm
	}
	done := make(chan error, 1)
	go func() { done <- hook.Run(ctx, name, s.ui, comm, data) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	// Packer's RPC cancels the hook but not the commands it has started here.
	patience := time.NewTimer(hookPatience)
	defer patience.Stop()
	for {
		s.comm.Interrupt(errCancelled)
		select {
		case err := <-done:
			return errors.Join(context.Cause(ctx), err)
		case <-patience.C:
			return fmt.Errorf("the provisioners did not return within %v: %w", hookPatience, context.Cause(ctx))
		case <-time.After(time.Second):
		}
	}
}

// Cleanup runs the template's error-cleanup-provisioner when the build failed.
func (s *stepProvision) Cleanup(state multistep.StateBag) {
	if stateError(state) == nil || s.comm == nil {
		return
	}
	data, _ := state.Get("generated_data").(map[string]any)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s.cleanup(state, "running the error-cleanup-provisioner", s.runHook(ctx, state, packersdk.HookCleanupProvision, data))
}
