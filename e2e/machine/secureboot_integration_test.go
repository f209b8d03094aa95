//go:build integration

package machine

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// unsignedProgram is the smallest EFI program: it returns at once, and nobody
// has signed it.
func unsignedProgram(arch Arch) []byte {
	kind, code := uint16(0x8664), []byte{0x48, 0x31, 0xc0, 0xc3} // x86-64: xor rax,rax; ret
	if arch == ARM64 {
		kind, code = 0xaa64, []byte{0x00, 0x00, 0x80, 0xd2, 0xc0, 0x03, 0x5f, 0xd6} // mov x0,#0; ret
	}
	const (
		headers  = 0x200
		codeAt   = 0x1000
		peHeader = 0x80
		optional = peHeader + 24
		section  = optional + 240
	)
	b := make([]byte, headers+0x200)
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], peHeader)
	copy(b[peHeader:], "PE\x00\x00")
	le.PutUint16(b[peHeader+4:], kind)
	le.PutUint16(b[peHeader+6:], 1)      // sections
	le.PutUint16(b[peHeader+20:], 240)   // size of the optional header
	le.PutUint16(b[peHeader+22:], 0x22e) // an executable that may be moved
	le.PutUint16(b[optional:], 0x20b)    // PE32+
	le.PutUint32(b[optional+4:], 0x200)  // code
	le.PutUint32(b[optional+16:], codeAt)
	le.PutUint32(b[optional+20:], codeAt)
	le.PutUint32(b[optional+32:], 0x1000) // alignment in memory
	le.PutUint32(b[optional+36:], 0x200)  // and in the file
	le.PutUint32(b[optional+56:], codeAt+0x1000)
	le.PutUint32(b[optional+60:], headers)
	le.PutUint16(b[optional+68:], 10) // EFI application
	le.PutUint32(b[optional+108:], 16)
	copy(b[section:], ".text")
	le.PutUint32(b[section+8:], 0x200)
	le.PutUint32(b[section+12:], codeAt)
	le.PutUint32(b[section+16:], 0x200)
	le.PutUint32(b[section+20:], headers)
	le.PutUint32(b[section+36:], 0x60000020) // code, executable, readable
	copy(b[headers:], code)
	return b
}

// espDisk is a disk that is an EFI system partition, with such a program where
// firmware looks on removable media.
func espDisk(t *testing.T, arch Arch) string {
	t.Helper()
	name := map[Arch]string{AMD64: "BOOTX64.EFI", ARM64: "BOOTAA64.EFI"}[arch]
	dir := t.TempDir()
	disk, file := filepath.Join(dir, "esp.raw"), filepath.Join(dir, name)
	if err := os.WriteFile(file, unsignedProgram(arch), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(disk, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{
		{"mkfs.vfat", "-F", "32", disk},
		{"mmd", "-i", disk, "::/EFI", "::/EFI/BOOT"},
		{"mcopy", "-i", disk, file, "::/EFI/BOOT/" + name},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	return disk
}

// needARM64 skips a test on a host without what boots arm64, which is no part
// of the set-up that all tests need.
func needARM64(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath(ARM64.hardware().qemu); err != nil {
		t.Skip("this host boots no arm64 image; .ci/setup arm64 installs what does")
	}
}

// TestSecureBootIsEnforced starts a program that nobody has signed under both
// kinds of UEFI: without Secure Boot it must run, or the refusal proves nothing.
func TestSecureBootIsEnforced(t *testing.T) {
	for _, arch := range Arches() {
		disk := espDisk(t, arch)
		for firmware, want := range map[Firmware]string{
			UEFI:       "no-bootable-device",  // it ran, came back, and nothing else was there
			SecureBoot: "secure-boot-refused", // it did not
		} {
			t.Run(string(arch)+" "+string(firmware), func(t *testing.T) {
				o := realOptions(t, disk)
				o.Arch, o.Firmware, o.BootTimeout = arch, firmware, 2*time.Minute
				if arch == ARM64 {
					needARM64(t)
				}
				m, err := Start(context.Background(), o)
				if err == nil {
					_ = m.Kill()
					t.Fatal("the machine came up")
				}
				if !errors.Is(err, ErrGuestHang) || exitcode.Of(err) != exitcode.Failed || !strings.Contains(err.Error(), want) {
					t.Errorf("want %s, got exit code %d, %v", want, exitcode.Of(err), err)
				}
			})
		}
	}
}
