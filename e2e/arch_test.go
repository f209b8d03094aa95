package e2e

import (
	"archive/tar"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// imageOf is a root file system whose only program is for m.
func imageOf(t *testing.T, m elf.Machine) string {
	t.Helper()
	program := make([]byte, 64)
	copy(program, elf.ELFMAG)
	program[elf.EI_CLASS], program[elf.EI_DATA], program[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	binary.LittleEndian.PutUint16(program[16:], uint16(elf.ET_DYN))
	binary.LittleEndian.PutUint16(program[18:], uint16(m))
	binary.LittleEndian.PutUint32(program[20:], uint32(elf.EV_CURRENT))
	path := filepath.Join(t.TempDir(), "node.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	if err := w.WriteHeader(&tar.Header{Name: witness, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestArchOfAnImage(t *testing.T) {
	t.Parallel()
	amd, arm := &profiles.Profile{Name: "pc"}, &profiles.Profile{Name: "board"}
	amd.OS.Arch, arm.OS.Arch = "amd64", "arm64"
	for name, test := range map[string]struct {
		image   string
		asked   machine.Arch
		profile *profiles.Profile
		want    machine.Arch
		says    string
	}{
		"its programs":                   {image: imageOf(t, elf.EM_AARCH64), want: machine.ARM64},
		"its programs and its profile":   {image: imageOf(t, elf.EM_X86_64), profile: amd, want: machine.AMD64},
		"another's profile":              {image: imageOf(t, elf.EM_X86_64), profile: arm, says: "its programs are for amd64, expected arm64 as profile board says"},
		"no look into it, but a profile": {image: imageFile(t), profile: arm, want: machine.ARM64},
		"no look into it and no profile": {image: imageFile(t), want: machine.AMD64},
		"asked for":                      {image: imageFile(t), asked: machine.ARM64, want: machine.ARM64},
		"one that nobody knows to boot":  {image: imageOf(t, elf.EM_RISCV), says: "/usr/bin/dpkg is for EM_RISCV: expected a program for one of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := archOf(t.Context(), test.asked, test.image, test.profile)
			switch {
			case test.says == "":
				if err != nil || got != test.want {
					t.Errorf("got %q, %v; want %q", got, err, test.want)
				}
			case exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), test.says):
				t.Errorf("got %q, %v; want %q", got, err, test.says)
			}
		})
	}
}

func TestFirmwareOfAnArch(t *testing.T) {
	t.Parallel()
	for arch, want := range map[machine.Arch][]machine.Firmware{
		"":            {machine.SecureBoot, machine.BIOS},
		machine.AMD64: {machine.SecureBoot, machine.BIOS},
		machine.ARM64: {machine.SecureBoot, machine.UEFI},
	} {
		if diff := cmp.Diff(want, Options{Arch: arch}.withDefaults().Firmware); diff != "" {
			t.Errorf("%q (-want +got):\n%s", arch, diff)
		}
	}
}

// A machine that cannot be is bad input, and never a fault of the image: it is
// refused before anything is booted or written.
func TestNoMachineThatCannotBe(t *testing.T) {
	t.Parallel()
	image := imageOf(t, elf.EM_AARCH64)
	for name, test := range map[string]struct {
		set  Options
		says string
	}{
		"BIOS":      {Options{Firmware: []machine.Firmware{machine.UEFI, machine.BIOS}}, "an arm64 image boots by UEFI alone: say --firmware uefi"},
		"no such":   {Options{Arch: "riscv64"}, `architecture "riscv64": expected one of`},
		"too small": {Options{MemoryMiB: 1}, "1 MiB of memory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := test.set
			o.Image, o.OutputDir = image, filepath.Join(t.TempDir(), "out")
			o.boot = func(context.Context, machine.Options) (vm, error) { panic("a machine was booted") }
			_, err := RunTest(t.Context(), testingT{}, o)
			if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q", err, test.says)
			}
			if _, err := os.Stat(o.OutputDir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the output directory: %v", err)
			}
		})
	}
	if !slices.Contains(machine.ARM64.Firmwares(), machine.SecureBoot) {
		t.Error("arm64 has no Secure Boot")
	}
}
