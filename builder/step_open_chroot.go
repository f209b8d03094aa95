package builder

import (
	"context"
	"path/filepath"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/chroot"
)

// stepOpenChroot makes the communicator that provisioners, and the builder
// itself, run commands in the image with.
//
// Uses build.scratch and build.base. Sets build.comm.
type stepOpenChroot struct{ *build }

func (s *stepOpenChroot) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	options := []chroot.Option{chroot.WithEpoch(s.base.Epoch)}
	if s.memory != nil {
		options = append(options, chroot.WithNamespace(s.memory.Namespace, filepath.Join(s.memory.Inside, treeName)))
	}
	comm, err := chroot.New(s.rootTree(), options...)
	if err != nil {
		return s.fail(state, "opening the chroot", err)
	}
	s.comm = comm
	return multistep.ActionContinue
}

// Cleanup ends whatever still runs in the image, before its files are removed.
func (s *stepOpenChroot) Cleanup(state multistep.StateBag) {
	if s.comm != nil {
		s.cleanup(state, "closing the chroot", s.comm.Close())
	}
}

// stepCloseChroot ends all work in the image, so that nothing of the build is
// left in what is put on the disk.
type stepCloseChroot struct{ *build }

func (s *stepCloseChroot) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	if err := s.comm.Close(); err != nil {
		return s.fail(state, "closing the chroot", err)
	}
	s.comm = nil // no cleanup of an earlier step shall work in it any more
	return multistep.ActionContinue
}

func (s *stepCloseChroot) Cleanup(multistep.StateBag) {}
