package builder

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/bootstrap"
	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// stepKeepBoot leaves the boot loader, kernel and initramfs of a cloud image as
// they are, but for the arguments that the profile gives the kernel, and makes
// sure that nothing has put others in their place: their other halves lie in
// partitions that are not touched.
//
// Uses build.root, build.base and build.packages.
type stepKeepBoot struct{ *build }

func (s *stepKeepBoot) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	s.ui.Say("Keeping the cloud image's own boot loader")
	if err := s.keep(); err != nil {
		return s.fail(state, "keeping what boots", err)
	}
	return multistep.ActionContinue
}

func (s *stepKeepBoot) Cleanup(multistep.StateBag) {}

func (s *stepKeepBoot) keep() error {
	changes, err := s.base.KernelsChanged(s.root)
	if err != nil {
		return err
	}
	changes = append(changes, bootstrap.BootChanges(s.base.Packages, s.packages)...)
	if len(changes) > 0 {
		return exitcode.BadInput(fmt.Errorf("a provisioner changed what boots, and the cloud image's own is kept: %s: take an image that has it (base.cloudImage), or bootstrap the system from the archive", strings.Join(changes, "; ")))
	}
	if err := disk.AddArguments(s.root, s.config.profile.Kernel.CommandLine); err != nil {
		return exitcode.BadInput(err)
	}
	if _, err := s.root.Stat("/etc/fstab"); err != nil {
		return errors.Join(errors.New("the image has no /etc/fstab that says what is mounted"), err)
	}
	return nil
}
