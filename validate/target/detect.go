package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/target/internal/ext4"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target/internal/gpt"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target/internal/qcow2"
)

// sniffBytes is how much of a file or a volume is looked at to tell what it
// is: btrfs has its magic number behind 64 KiB.
const sniffBytes = 72 << 10

// unreadable are formats that are recognized in order to be refused by name.
var unreadable = [...]struct {
	at    int
	magic string
	name  string
	fix   string
}{
	{0, "KDMV", "a VMware disk (VMDK)", "convert it with qemu-img convert -O qcow2"},
	{0, "# Disk DescriptorFile", "a VMware disk (VMDK)", "convert it with qemu-img convert -O qcow2"},
	{0, "vhdxfile", "a Hyper-V disk (VHDX)", "convert it with qemu-img convert -O qcow2"},
	{0, "conectix", "a Hyper-V disk (VHD)", "convert it with qemu-img convert -O qcow2"},
	{64, "\x7f\x10\xda\xbe", "a VirtualBox disk (VDI)", "convert it with qemu-img convert -O qcow2"},
	{0, "QED\x00", "a QED disk", "convert it with qemu-img convert -O qcow2"},
	{0, "\xfd7zXZ\x00", "compressed with xz", "decompress it with xz -d"},
	{0, "BZh", "compressed with bzip2", "decompress it with bzip2 -d"},
	{0, "\x04\x22\x4d\x18", "compressed with lz4", "decompress it with lz4 -d"},
	{0, "PK\x03\x04", "a zip archive", "unpack it"},
	{0, "070701", "a cpio archive", "unpack it into a directory"},
	{0, "LUKS\xba\xbe", "encrypted (LUKS)", "decrypt it first"},
	{0, "XFSB", "an XFS file system", "only ext4 is read; mount it and give the directory"},
	{0, "hsqs", "a squashfs file system", "unpack it with unsquashfs and give the directory"},
	{512, "LABELONE", "an LVM physical volume", "activate it, mount it and give the directory"},
	{1024, "\x10\x20\xf5\xf2", "an F2FS file system", "only ext4 is read; mount it and give the directory"},
	{1024, "\xe2\xe1\xf5\xe0", "an EROFS file system", "only ext4 is read; mount it and give the directory"},
	{32769, "CD001", "an ISO 9660 image", "only disk images are read"},
	{65600, "_BHRfS_M", "a btrfs file system", "only ext4 is read; mount it and give the directory"},
}

func refuseByName(b []byte) error {
	for _, u := range unreadable {
		if len(b) >= u.at+len(u.magic) && string(b[u.at:u.at+len(u.magic)]) == u.magic {
			return badf("is %s: %s", u.name, u.fix)
		}
	}
	return nil
}

// sniff reads the start of a file or a volume, which may be short.
func sniff(r io.ReaderAt, size int64) ([]byte, error) {
	b := make([]byte, min(sniffBytes, max(size, 0)))
	n, err := r.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}

// openFile opens a regular file, whose directory is where backing files may be.
func (t *Target) openFile(ctx context.Context, f *os.File, size int64, dir string) error {
	b, err := sniff(f, size)
	if err != nil {
		return err
	}
	has := func(at int, magic string) bool {
		return len(b) >= at+len(magic) && string(b[at:at+len(magic)]) == magic
	}
	switch {
	case len(b) == 0:
		return badf("is empty")
	case qcow2.Is(b):
		t.kind = Qcow2
		img, err := t.openQcow2(f, size, dir, 0)
		if err != nil {
			return err
		}
		return t.openDisk(img, img.Size())
	case has(0, "\x1f\x8b"), has(0, "\x28\xb5\x2f\xfd"):
		t.kind = Tar
		v, c, err := openCompressedTar(ctx, io.NewSectionReader(f, 0, size), has(0, "\x28\xb5\x2f\xfd"))
		if err != nil {
			return err
		}
		t.root, t.closers = v, append(t.closers, c)
		return nil
	case has(257, "ustar"):
		t.kind = Tar
		s := io.NewSectionReader(f, 0, size)
		at := func() int64 { n, _ := s.Seek(0, io.SeekCurrent); return n }
		v, err := openTar(ctx, s, at, f)
		if err != nil {
			return err
		}
		t.root = v
		return nil
	}
	t.kind = Raw
	return t.openDisk(f, size)
}

// openDisk opens a disk or a bare file system.
func (t *Target) openDisk(r io.ReaderAt, size int64) error {
	t.disk, t.size = r, size
	b, err := sniff(r, size)
	if err != nil {
		return err
	}
	if _, ok := gpt.Is(b); ok {
		return t.openGPT(r, size)
	}
	if ext4.Is(b) {
		v, _, err := openExt4(r, size)
		if err != nil {
			return err
		}
		t.root = v
		return nil
	}
	if err := refuseByName(b); err != nil {
		return err
	}
	if len(b) >= 512 && b[510] == 0x55 && b[511] == 0xaa {
		return badf("has an MBR but no GUID partition table: convert it with sgdisk --mbrtogpt on a copy")
	}
	return badf("is nothing that this reads: want a qcow2 image, a raw disk with a GUID partition table, an ext4 file system, a tar (plain, gzip, zstd) or a directory")
}

// openGPT finds the root partition: one with the type for roots, or else the
// Linux file system that holds an os-release, as a boot loader's file would
// name it.
func (t *Target) openGPT(r io.ReaderAt, size int64) error {
	table, err := gpt.Read(r, size)
	if err != nil {
		return err
	}
	t.parts, t.guid = table.Partitions, table.GUID
	var roots, linux []Partition
	for _, p := range table.Partitions {
		switch p.Type {
		case gpt.TypeRootX8664, gpt.TypeRootARM64:
			roots = append(roots, p)
		case gpt.TypeLinux:
			linux = append(linux, p)
		case gpt.TypeESP:
			if t.esp == nil {
				t.openESP(section(r, p), p)
			}
		}
	}
	candidates := roots
	if len(candidates) == 0 {
		candidates = linux
	}
	switch len(candidates) {
	case 0:
		// Which of them is what has the root, if it can be told.
		for _, p := range table.Partitions {
			if b, err := sniff(section(r, p), p.Length); err == nil {
				if err := refuseByName(b); err != nil {
					return fmt.Errorf("gpt: no root partition among %d: partition %d %w", len(table.Partitions), p.Number, err)
				}
			}
		}
		return badf("gpt: no root partition among %d: want one of type root-x86-64 (%s), root-arm64 (%s) or Linux filesystem (%s)",
			len(table.Partitions), gpt.TypeRootX8664, gpt.TypeRootARM64, gpt.TypeLinux)
	case 1:
		return t.openRoot(r, candidates[0])
	}
	return t.chooseRoot(r, candidates)
}

// chooseRoot takes the only partition that looks like the root of a system.
func (t *Target) chooseRoot(r io.ReaderAt, candidates []Partition) error {
	var found []Partition
	for _, p := range candidates {
		v, _, err := openExt4(section(r, p), p.Length)
		if err != nil {
			continue // a home in XFS, swap under a wrong type: not the root
		}
		if _, err := v.Lstat("etc/os-release"); err == nil {
			found = append(found, p)
		} else if _, err := v.Lstat("usr/lib/os-release"); err == nil {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		return badf("gpt: %d of the %d partitions that may be the root hold an ext4 file system with etc/os-release, want 1: give the root's partition type to that alone",
			len(found), len(candidates))
	}
	return t.openRoot(r, found[0])
}

func (t *Target) openRoot(r io.ReaderAt, p Partition) error {
	s := section(r, p)
	b, err := sniff(s, p.Length)
	if err != nil {
		return err
	}
	if !ext4.Is(b) {
		if err := refuseByName(b); err != nil {
			return fmt.Errorf("partition %d: %w", p.Number, err)
		}
	}
	v, _, err := openExt4(s, p.Length)
	if err != nil {
		return fmt.Errorf("partition %d: %w", p.Number, err)
	}
	t.root, t.rootNo = v, p.Number
	t.openBoot(r, v)
	return nil
}

func section(r io.ReaderAt, p Partition) io.ReaderAt {
	return io.NewSectionReader(r, p.Start, p.Length)
}
