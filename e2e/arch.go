package e2e

import (
	"cmp"
	"context"
	"debug/elf"
	"fmt"
	"io"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// archOf returns what the image was made for: what it was said to be, or what
// its programs are for, or, where they cannot be read, what its profile says.
// With nothing to go by it is amd64: a machine that it does not boot on tells.
func archOf(ctx context.Context, asked machine.Arch, image string, profile *profiles.Profile) (machine.Arch, error) {
	if asked != "" {
		return asked, nil
	}
	found, err := programsArch(ctx, image)
	if err != nil {
		return "", err
	}
	var claimed machine.Arch
	if profile != nil {
		claimed = machine.Arch(profile.OS.Arch)
	}
	if found != "" && claimed != "" && found != claimed {
		return "", exitcode.BadInput(fmt.Errorf("image %s: its programs are for %s, expected %s as profile %s says: name the profile that it was made from",
			image, found, claimed, profile.Name))
	}
	return cmp.Or(found, claimed, machine.AMD64), nil
}

// witness is a program that every image has: the suite asks it for the
// architecture, too. The partitions' types would not do, since most of the
// distributions' own images have the one for any Linux file system.
const witness = "usr/bin/dpkg"

// programsArch returns the architecture of an image's programs, and none for an
// image that cannot be looked into: a boot may show more of it than a look.
func programsArch(ctx context.Context, image string) (machine.Arch, error) {
	t, err := target.Open(ctx, image)
	if ctx.Err() != nil {
		return "", exitcode.Transient(fmt.Errorf("looking for the image's architecture: %w", context.Cause(ctx)))
	}
	if err != nil || t.Root() == nil {
		return "", nil
	}
	defer func() { _ = t.Close() }() // only read
	f, err := t.Root().Open(witness)
	if err != nil {
		return "", nil
	}
	defer func() { _ = f.Close() }() // only read
	program, ok := f.(io.ReaderAt)
	if !ok {
		return "", nil
	}
	header, err := elf.NewFile(program)
	if err != nil {
		return "", nil
	}
	switch header.Machine {
	case elf.EM_X86_64:
		return machine.AMD64, nil
	case elf.EM_AARCH64:
		return machine.ARM64, nil
	}
	return "", exitcode.BadInput(fmt.Errorf("image %s: /%s is for %s: expected a program for one of %q", image, witness, header.Machine, machine.Arches()))
}
