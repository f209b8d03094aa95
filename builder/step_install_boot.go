package builder

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
)

// stepInstallBoot lays out the disk and writes what depends on it into the
// image: /etc/fstab, the initramfs of each kernel and the boot loader.
//
// Uses build.root, build.comm and build.inputs. Sets build.layout.
type stepInstallBoot struct{ *build }

func (s *stepInstallBoot) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	s.ui.Say("Making the initramfs and installing the boot loader")
	if err := s.install(ctx); err != nil {
		return s.fail(state, "making the image bootable", diskFull(err))
	}
	return multistep.ActionContinue
}

func (s *stepInstallBoot) Cleanup(multistep.StateBag) {}

func (s *stepInstallBoot) install(ctx context.Context) error {
	p := s.config.profile
	var err error
	// Identifiers follow from the inputs: the same image has the same ones.
	s.layout, err = s.newLayout(s.inputs)
	if err != nil {
		return err
	}
	// The initramfs looks into fstab for the file system checks it needs.
	if err := disk.WriteFSTab(s.root, s.layout); err != nil {
		return err
	}
	if err := s.makeInitramfs(ctx); err != nil {
		return err
	}
	title := fmt.Sprintf("%s (%s %s)", p.Name, p.OS.Distribution, p.OS.Version)
	return disk.WriteBootFiles(ctx, s.root, s.comm, s.config.firmware, s.layout, title, p.Kernel.CommandLine)
}

// makeInitramfs makes one initramfs a kernel: bootstrapping made none, and no
// provisioner needs one.
func (s *stepInstallBoot) makeInitramfs(ctx context.Context) error {
	kernels, err := s.kernels()
	if err != nil {
		return err
	}
	for _, kernel := range kernels {
		// Made anew even if a provisioner has made one: the last settings count.
		if err := s.root.Remove(path.Join("/boot", "initrd.img-"+kernel)); err != nil {
			return err
		}
		if err := s.initramfsFor(ctx, kernel); err != nil {
			return err
		}
	}
	if len(kernels) == 0 {
		return errors.New("the image has no kernel in /boot: name one in kernel.package of the profile")
	}
	return s.linkInitramfs()
}

// linkInitramfs sets the initrd.img link beside the vmlinuz link to the same
// version. The kernel's package makes both, but that of an initramfs only if
// there is one by then; later upgrades find it and keep it.
func (s *stepInstallBoot) linkInitramfs() error {
	for _, dir := range []string{"/", "/boot"} {
		kernel, err := s.root.Readlink(path.Join(dir, "vmlinuz"))
		if err != nil {
			continue
		}
		base := path.Base(kernel)
		version, ok := strings.CutPrefix(base, "vmlinuz-")
		if !ok {
			return fmt.Errorf("%s leads to %s: expected vmlinuz-VERSION", path.Join(dir, "vmlinuz"), kernel)
		}
		target := strings.TrimSuffix(kernel, base) + "initrd.img-" + version
		if err := s.root.Symlink(target, path.Join(dir, "initrd.img")); err != nil {
			return err
		}
	}
	return nil
}
