package builder

import (
	"context"
	"fmt"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
)

// stepReworkDisk makes the raw disk from a cloud image and the root file system.
//
// Uses build.rework. Sets build.rootSize.
type stepReworkDisk struct{ *build }

func (s *stepReworkDisk) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	s.ui.Say(fmt.Sprintf("Putting the system back into the cloud image, grown to %d MiB", s.layout.Size>>20))
	if err := s.assemble(ctx); err != nil {
		return s.fail(state, "assembling the disk", diskFull(err))
	}
	return multistep.ActionContinue
}

func (s *stepReworkDisk) Cleanup(multistep.StateBag) {}

func (s *stepReworkDisk) assemble(ctx context.Context) error {
	work, err := s.beginDisk()
	if err != nil {
		return err
	}
	return s.rework.Assemble(ctx, s.host, s.rootTree(), s.rawDisk(), work)
}
