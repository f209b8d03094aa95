// Package disk turns a root file system tree into a bootable GPT disk image.
// It works on files only: no loop device, no mount, nothing to leak.
package disk

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
)

const (
	// SectorSize is the logical sector size of the disk, in bytes.
	SectorSize = 512
	// alignment of partitions, in sectors: 1 MiB, as every partitioner does.
	alignment = 2048
	// biosSectors holds GRUB's core image: 1 MiB.
	biosSectors = 2048
	// minRoot is the smallest root partition that is worth a try, in sectors.
	minRoot = 512 << 20 / SectorSize
)

// Partition types, by GUID. With the one for a root file system of its
// architecture, systemd-repart and systemd-gpt-auto-generator know the root.
const (
	typeBIOSBoot = "21686148-6449-6E6F-744E-656564454649"
	typeESP      = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	typeRootX64  = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
	typeRootAA64 = "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"
)

// Firmware is what differs between the architectures' boot files.
type Firmware struct {
	// Suffix of EFI file names: x64, aa64.
	Suffix string
	// BIOS tells whether the architecture also boots by BIOS.
	BIOS bool
	root string
}

// FirmwareOf returns the firmware of a Debian architecture.
func FirmwareOf(arch string) (Firmware, error) {
	switch arch {
	case "amd64":
		return Firmware{Suffix: "x64", BIOS: true, root: typeRootX64}, nil
	case "arm64":
		return Firmware{Suffix: "aa64", root: typeRootAA64}, nil
	}
	return Firmware{}, fmt.Errorf("architecture %q: expected amd64 or arm64", arch)
}

// Partition is one entry of the partition table; Start and Sectors count
// sectors of SectorSize bytes.
type Partition struct {
	Start, Sectors int64
	Type, UUID     string
	Name           string
}

// Offset and Size are in bytes.
func (p Partition) Offset() int64 { return p.Start * SectorSize }

// Size is in bytes.
func (p Partition) Size() int64 { return p.Sectors * SectorSize }

// Layout is the whole disk. BIOS is empty where there is no BIOS.
type Layout struct {
	Size            int64 // bytes
	GUID            string
	BIOS, ESP, Root Partition
	// RootUUID and ESPVolume identify the file systems.
	RootUUID  string
	ESPVolume uint32
	RootLabel string
	// Epoch is when the disk is said to be made. No file in it is younger.
	Epoch time.Time
}

// NewLayout places the partitions on a disk of size bytes. The root comes last
// so that it can grow. All identifiers follow from seed: the same inputs give
// the same disk of the same epoch, and two different images never share an identifier.
func NewLayout(fw Firmware, size, espSize int64, rootLabel, seed string, epoch time.Time) (Layout, error) {
	if size%(1<<20) != 0 {
		return Layout{}, fmt.Errorf("disk size of %d bytes: expected whole MiB", size)
	}
	// Below 33 MiB a FAT32 has too few clusters for firmware to take it as one.
	if espSize < 33<<20 || espSize%(1<<20) != 0 {
		return Layout{}, fmt.Errorf("EFI system partition of %d bytes: expected whole MiB, 33 or more", espSize)
	}
	// ext4 keeps 16 bytes, a GPT name 36 UTF-16 units; sfdisk's script quotes.
	if rootLabel == "" || len(rootLabel) > 16 || strings.ContainsAny(rootLabel, "\"\\\n\x00 ") {
		return Layout{}, fmt.Errorf("root label %q: expected 1 to 16 bytes without spaces, quotes and backslashes", rootLabel)
	}
	l := Layout{
		Size:      size,
		GUID:      UUID(seed, "disk"),
		RootUUID:  UUID(seed, "root file system"),
		RootLabel: rootLabel,
		Epoch:     epoch,
	}
	id := sha256.Sum256([]byte(seed + "\x00esp volume"))
	l.ESPVolume = uint32(id[0])<<24 | uint32(id[1])<<16 | uint32(id[2])<<8 | uint32(id[3])

	next := int64(alignment)
	if fw.BIOS {
		l.BIOS = Partition{next, biosSectors, typeBIOSBoot, UUID(seed, "bios"), "bios"}
		next += biosSectors
	}
	l.ESP = Partition{next, espSize / SectorSize, typeESP, UUID(seed, "esp"), "esp"}
	next += l.ESP.Sectors
	// The last MiB holds the backup of the table.
	l.Root = Partition{next, size/SectorSize - alignment - next, fw.root, UUID(seed, "root"), rootLabel}
	if l.Root.Sectors < minRoot {
		return Layout{}, fmt.Errorf("disk size of %d MiB leaves %d MiB for the root file system: expected at least %d MiB",
			size>>20, max(l.Root.Size(), 0)>>20, int64(minRoot)*SectorSize>>20)
	}
	return l, nil
}

// Partitions lists the entries in the order of the table.
func (l Layout) Partitions() []Partition {
	if l.BIOS.Sectors == 0 {
		return []Partition{l.ESP, l.Root}
	}
	return []Partition{l.BIOS, l.ESP, l.Root}
}

// SfdiskScript is the input of sfdisk(8) that makes the partition table.
func (l Layout) SfdiskScript() string {
	var b strings.Builder
	fmt.Fprintf(&b, "label: gpt\nlabel-id: %s\nunit: sectors\nsector-size: %d\n\n", strings.ToUpper(l.GUID), SectorSize)
	for _, p := range l.Partitions() {
		fmt.Fprintf(&b, "start=%d, size=%d, type=%s, uuid=%s, name=\"%s\"\n",
			p.Start, p.Sectors, p.Type, strings.ToUpper(p.UUID), p.Name)
	}
	return b.String()
}

// ESPSerial is the volume ID as blkid and /dev/disk/by-uuid print it.
func (l Layout) ESPSerial() string {
	return fmt.Sprintf("%04X-%04X", l.ESPVolume>>16, l.ESPVolume&0xffff)
}

// UUID derives a version 5 style UUID (RFC 9562) from seed and name.
func UUID(seed, name string) string {
	sum := sha256.Sum256([]byte(seed + "\x00" + name))
	sum[6] = sum[6]&0x0f | 0x50
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
