package builder

import (
	"context"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/cloudimage"
	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// stepOpenImage opens the cloud image that the base was made from, and finds out
// whether it can grow to the disk's size, before anything works in the image.
//
// Uses build.base and build.scratch. Sets build.rework and build.layout.
type stepOpenImage struct {
	*build
	image *target.Target
}

func (s *stepOpenImage) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	if err := s.open(ctx); err != nil {
		return s.fail(state, "opening the cloud image", diskFull(err))
	}
	return multistep.ActionContinue
}

func (s *stepOpenImage) open(ctx context.Context) error {
	var err error
	if s.image, err = cloudimage.Open(ctx, s.host, s.base.Image, s.scratch, s.config.profile.Base.CloudImage.Name()); err != nil {
		return err
	}
	original := disk.Original{Partitions: map[int]disk.OldPartition{}, Root: s.image.RootPartition(), Boot: s.image.BootPartition()}
	original.Disk, original.Size = s.image.Disk()
	for _, p := range s.image.Partitions() {
		original.Partitions[p.Number] = disk.OldPartition{Start: p.Start, Length: p.Length}
	}
	if s.rework, err = disk.NewRework(original, s.config.size, s.base.Epoch); err != nil {
		return err
	}
	s.layout = s.rework.Layout
	return nil
}

// Cleanup closes the image, which the disk was made from by then.
func (s *stepOpenImage) Cleanup(state multistep.StateBag) {
	if s.image != nil {
		s.cleanup(state, "closing the cloud image", s.image.Close())
		s.image = nil
	}
}
