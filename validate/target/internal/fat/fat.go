// Package fat reads FAT12, FAT16 and FAT32 file systems from an io.ReaderAt: the
// EFI system partition of an image. (go-diskfs reads FAT32 only, and a small
// ESP is FAT16; it also follows chains of clusters without a bound.)
//
// Memory is bounded by constants, and every error about the content carries
// exit code 2. The format is described in Microsoft's "FAT: General Overview of
// On-Disk Format", version 1.03.
package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

const (
	maxDirBytes = 2 << 20 // 65536 entries, the format's own limit
	fatPage     = 4096
)

// FS is an open file system. It is safe for concurrent use.
type FS struct {
	r       io.ReaderAt
	bits    int    // 12, 16 or 32
	cluster int64  // bytes
	fatAt   int64  // byte where the first table starts
	fatLen  int64  // bytes of one table
	rootAt  int64  // byte where the root directory of FAT12 and FAT16 starts
	rootLen int64  // its bytes
	root    uint32 // cluster where the root directory of FAT32 starts
	dataAt  int64  // byte where cluster 2 starts
	count   uint32 // clusters
}

// Open reads the boot sector of the file system in the first size bytes of r.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	b := make([]byte, 512)
	if err := readFull(r, b, 0, "boot sector"); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	sector, perCluster := int64(le.Uint16(b[11:])), int64(b[13])
	reserved, tables := int64(le.Uint16(b[14:])), int64(b[16])
	rootEntries, sectors, tableLen := int64(le.Uint16(b[17:])), int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	if tableLen == 0 {
		tableLen = int64(le.Uint32(b[36:]))
	}
	pow2 := func(n int64) bool { return n > 0 && n&(n-1) == 0 }
	switch {
	case b[510] != 0x55 || b[511] != 0xaa:
		return nil, corrupt("sector 0 ends in %#02x%02x, want 0x55aa", b[510], b[511])
	case !pow2(sector) || sector < 512 || sector > 4096:
		return nil, corrupt("sectors of %d bytes, want 512, 1024, 2048 or 4096", sector)
	case !pow2(perCluster):
		return nil, corrupt("clusters of %d sectors, want a power of two", perCluster)
	case reserved == 0 || tables == 0 || tables > 4 || tableLen == 0:
		return nil, corrupt("%d reserved sectors, %d tables of %d sectors", reserved, tables, tableLen)
	case sectors*sector > size:
		return nil, corrupt("truncated: the file system has %d bytes, the volume %d", sectors*sector, size)
	}
	f := &FS{
		r: r, cluster: perCluster * sector,
		fatAt: reserved * sector, fatLen: tableLen * sector,
		rootLen: (rootEntries*32 + sector - 1) / sector * sector,
	}
	f.rootAt = f.fatAt + tables*f.fatLen
	f.dataAt = f.rootAt + f.rootLen
	if f.dataAt >= sectors*sector {
		return nil, corrupt("no room for data: it would start at byte %d of %d", f.dataAt, sectors*sector)
	}
	count := (sectors*sector - f.dataAt) / f.cluster
	// The number of clusters alone decides which of the three it is.
	switch {
	case count < 4085:
		f.bits = 12
	case count < 65525:
		f.bits = 16
	default:
		f.bits, f.root = 32, le.Uint32(b[44:])
	}
	if f.bits == 32 && rootEntries != 0 || f.bits != 32 && rootEntries == 0 || count > 0x0ffffff5 {
		return nil, corrupt("%d clusters and %d entries in the root directory fit no FAT", count, rootEntries)
	}
	if (count+2)*int64(f.bits) > f.fatLen*8 {
		return nil, corrupt("a table of %d bytes is too short for %d clusters", f.fatLen, count)
	}
	f.count = uint32(count)
	return f, nil
}

// chain follows a file's clusters from first, to the end or to max of them.
// More than max is an error only if all is set.
func (f *FS) chain(first uint32, max int64, all bool) ([]uint32, error) {
	var out []uint32
	page, pageAt := make([]byte, 0, fatPage), int64(-1)
	for c := first; ; {
		if c < 2 || c-2 >= f.count {
			return nil, corrupt("chain from cluster %d leads to cluster %d of %d", first, c, f.count)
		}
		if int64(len(out)) == max {
			if all {
				return nil, corrupt("chain from cluster %d has more than %d clusters, or a loop", first, max)
			}
			return out, nil
		}
		out = append(out, c)
		at := int64(c) * int64(f.bits) / 8
		// An entry of FAT12 may lie on both sides of a page's end.
		if pageAt < 0 || at < pageAt || at+4 > pageAt+int64(len(page)) && pageAt+int64(len(page)) < f.fatLen {
			pageAt = at
			page = page[:min(fatPage, f.fatLen-at)]
			if err := readFull(f.r, page, f.fatAt+at, "file allocation table"); err != nil {
				return nil, err
			}
		}
		next, end := f.next(page[at-pageAt:], c)
		if end {
			return out, nil
		}
		c = next
	}
}

// next decodes the table's entry for cluster c.
func (f *FS) next(b []byte, c uint32) (next uint32, end bool) {
	le := binary.LittleEndian
	switch f.bits {
	case 12:
		v := uint32(le.Uint16(b))
		if c&1 == 1 {
			v >>= 4
		}
		v &= 0xfff
		return v, v >= 0xff8
	case 16:
		v := uint32(le.Uint16(b))
		return v, v >= 0xfff8
	}
	v := le.Uint32(b) & 0x0fffffff
	return v, v >= 0x0ffffff8
}

func (f *FS) clusterAt(c uint32) int64 { return f.dataAt + int64(c-2)*f.cluster }

func readFull(r io.ReaderAt, p []byte, off int64, what string) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return corrupt("truncated: %s at byte %d is missing; copy or download the image again", what, off)
	}
	return fmt.Errorf("fat: reading %s at byte %d: %w", what, off, err)
}

func corrupt(format string, args ...any) error {
	return exitcode.BadInput(fmt.Errorf("fat: "+format, args...))
}
