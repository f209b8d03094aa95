// Package gpt reads a GUID partition table (UEFI specification 2.10, chapter 5)
// and checks all that a firmware would check before it boots from it.
package gpt

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"unicode/utf16"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// The partition types that node images use.
const (
	TypeESP       = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	TypeBIOSBoot  = "21686148-6449-6e6f-744e-656564454649"
	TypeLinux     = "0fc63daf-8483-4772-8e79-3d69d8477de4"
	TypeRootX8664 = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
	TypeRootARM64 = "b921b045-1df0-41c3-af44-4c6f280d3fae"
)

const (
	maxArrayBytes = 1 << 20 // the array of entries; 16 KiB is usual
	zeroType      = "00000000-0000-0000-0000-000000000000"
)

// Partition is one used entry of the table.
type Partition struct {
	Number int    `json:"number"` // from 1, as in /dev/vda1
	Type   string `json:"type"`   // lower case
	GUID   string `json:"guid"`   // lower case
	Name   string `json:"name"`
	Start  int64  `json:"start"`  // bytes
	Length int64  `json:"length"` // bytes
}

// Table is a disk's partition table.
type Table struct {
	GUID       string // of the disk
	SectorSize int    // 512 or 4096
	Partitions []Partition
}

// Is reports whether the header of a table starts in b, the first 8 KiB of a
// disk, and at which sector size.
func Is(b []byte) (sector int, ok bool) {
	for _, s := range [...]int{512, 4096} {
		if len(b) >= s+8 && string(b[s:s+8]) == "EFI PART" {
			return s, true
		}
	}
	return 0, false
}

// Read reads the table of the disk of size bytes behind r.
func Read(r io.ReaderAt, size int64) (*Table, error) {
	start := make([]byte, min(8192, max(size, 0)))
	if err := readFull(r, start, 0, "partition table"); err != nil {
		return nil, err
	}
	sector, ok := Is(start)
	if !ok {
		return nil, corrupt("no header in sector 1: want the signature \"EFI PART\"")
	}
	if err := checkProtective(start); err != nil {
		return nil, err
	}
	h := start[sector:min(len(start), 2*sector)]
	if err := checkHeader(h, int64(sector), size); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	entrySize, count := le.Uint32(h[84:]), le.Uint32(h[80:])
	array := make([]byte, int64(count)*int64(entrySize))
	if err := readFull(r, array, int64(le.Uint64(h[72:]))*int64(sector), "partition entries"); err != nil {
		return nil, err
	}
	if got, want := crc32.ChecksumIEEE(array), le.Uint32(h[88:]); got != want {
		return nil, corrupt("the partition entries' checksum is %#08x, the header says %#08x: the table is damaged; rewrite it with sfdisk or sgdisk -e", got, want)
	}
	t := &Table{GUID: guid(h[56:]), SectorSize: sector}
	first, last := le.Uint64(h[40:]), le.Uint64(h[48:])
	for i := range int(count) {
		p, err := parseEntry(array[i*int(entrySize):], i+1, int64(sector), first, last)
		if err != nil {
			return nil, err
		}
		if p.Type != zeroType {
			t.Partitions = append(t.Partitions, p)
		}
	}
	return t, checkOverlap(t.Partitions)
}

// checkProtective checks the MBR that keeps old tools off the disk. Without it
// firmwares take the disk for one partitioned by MBR.
func checkProtective(b []byte) error {
	if b[510] != 0x55 || b[511] != 0xaa {
		return corrupt("no protective MBR: sector 0 ends in %#02x%02x, want 0x55aa", b[510], b[511])
	}
	for i := range 4 {
		e := b[446+16*i:]
		if e[4] == 0xee {
			if lba := binary.LittleEndian.Uint32(e[8:]); lba != 1 {
				return corrupt("the protective MBR's partition starts in sector %d, want 1", lba)
			}
			return nil
		}
	}
	return corrupt("no protective MBR: no partition of type 0xee in sector 0")
}

func checkHeader(h []byte, sector, size int64) error {
	le := binary.LittleEndian
	if len(h) < 92 {
		return corrupt("truncated: %d bytes of header", len(h))
	}
	n := le.Uint32(h[12:])
	if n < 92 || int64(n) > int64(len(h)) {
		return corrupt("header of %d bytes, want 92 to %d", n, sector)
	}
	sum := slices.Clone(h[:n])
	clear(sum[16:20])
	if got, want := crc32.ChecksumIEEE(sum), le.Uint32(h[16:]); got != want {
		return corrupt("the header's checksum is %#08x, the header says %#08x: the table is damaged; restore it from its backup with sgdisk or fdisk", got, want)
	}
	sectors := uint64(size / sector)
	self, backup, first, last := le.Uint64(h[24:]), le.Uint64(h[32:]), le.Uint64(h[40:]), le.Uint64(h[48:])
	array, count, entry := le.Uint64(h[72:]), le.Uint32(h[80:]), le.Uint32(h[84:])
	switch {
	case le.Uint32(h[8:]) != 0x00010000:
		return corrupt("revision %#08x, want 0x00010000", le.Uint32(h[8:]))
	case self != 1:
		return corrupt("the header in sector 1 says that it is in sector %d", self)
	case backup >= sectors:
		return corrupt("truncated: the backup table is in sector %d, the disk has %d; copy or download the image again", backup, sectors)
	case entry < 128 || entry > 4096 || entry&(entry-1) != 0:
		return corrupt("entries of %d bytes, want 128, 256, … 4096", entry)
	case count == 0 || uint64(count)*uint64(entry) > maxArrayBytes:
		return corrupt("%d entries of %d bytes, want at least one and at most %d bytes", count, entry, maxArrayBytes)
	case array < 2 || array >= sectors:
		return corrupt("the partition entries start in sector %d of %d", array, sectors)
	case first > last || last >= sectors:
		return corrupt("usable sectors %d to %d of %d", first, last, sectors)
	}
	return nil
}

func parseEntry(b []byte, number int, sector int64, firstUsable, lastUsable uint64) (Partition, error) {
	le := binary.LittleEndian
	p := Partition{Number: number, Type: guid(b), GUID: guid(b[16:])}
	if p.Type == zeroType {
		return p, nil
	}
	first, last := le.Uint64(b[32:]), le.Uint64(b[40:])
	if first > last || first < firstUsable || last > lastUsable {
		return p, corrupt("partition %d has sectors %d to %d, usable are %d to %d", number, first, last, firstUsable, lastUsable)
	}
	p.Start, p.Length = int64(first)*sector, int64(last-first+1)*sector
	var name []uint16
	for i := 56; i < 128; i += 2 {
		c := le.Uint16(b[i:])
		if c == 0 {
			break
		}
		name = append(name, c)
	}
	p.Name = string(utf16.Decode(name))
	return p, nil
}

func checkOverlap(parts []Partition) error {
	sorted := slices.Clone(parts)
	slices.SortFunc(sorted, func(a, b Partition) int { return cmp.Compare(a.Start, b.Start) })
	for i := 1; i < len(sorted); i++ {
		a, b := sorted[i-1], sorted[i]
		if a.Start+a.Length > b.Start {
			return corrupt("partitions %d and %d overlap at byte %d", a.Number, b.Number, b.Start)
		}
	}
	return nil
}

// guid formats the mixed-endian bytes of a GUID.
func guid(b []byte) string {
	le, be := binary.LittleEndian, binary.BigEndian
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x",
		le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), be.Uint16(b[8:]), b[10:16])
}

func readFull(r io.ReaderAt, p []byte, off int64, what string) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p) && n > 0:
		return nil
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return corrupt("truncated: the %s at byte %d is missing; copy or download the image again", what, off)
	}
	return fmt.Errorf("gpt: reading the %s at byte %d: %w", what, off, err)
}

func corrupt(format string, args ...any) error {
	return exitcode.BadInput(fmt.Errorf("gpt: "+format, args...))
}
