// Package ext4 reads ext2, ext3 and ext4 file systems from an io.ReaderAt,
// lazily and without ever writing.
//
// It exists because go-diskfs (v1.9.4), which the project uses elsewhere,
// cannot be trusted with an image that somebody else made; measured against
// debugfs on file systems made by mke2fs -d (see the integration test):
//   - a file with holes reads wrong bytes without an error, and one whose hole
//     comes first fails with a negative offset;
//   - a directory with inline_data ends in a nil dereference; in a damaged one,
//     a record of length 0 loops for ever and others end in a panic;
//   - the group descriptor table is allocated from a number in the superblock;
//   - each lookup reads whole directories: 2.5 ms in one of 5000 entries.
//
// Everything read here is checked before it is used, memory is bounded by
// constants, and every error about the content carries exit code 2.
package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target/internal/lru"
)

// Bounds on what a hostile image may make the reader do.
const (
	maxDirBytes   = 16 << 20 // a directory's size: some 200000 names
	dirCacheBytes = 8 << 20  // directories that are kept in memory
	maxXattrValue = 64 << 10 // as in the kernel (XATTR_SIZE_MAX)
	maxXattrTotal = 1 << 20  // one inode's values
	maxExtentTree = 5        // levels below the inode, as in the kernel
	maxLinkTarget = 4095     // PATH_MAX without the NUL
	superOffset   = 1024
	superSize     = 1024
	superMagic    = 0xEF53
	rootInode     = 2
	stateValid    = 0x1
	stateErrors   = 0x2
	compatJournal = 0x4
	incompFtype   = 0x2
	incompRecover = 0x4
	incompMetaBG  = 0x10
	incomp64bit   = 0x80
	incompInline  = 0x8000
	incompLargeD  = 0x4000
	roCompatCsum  = 0x400
)

// incompatNames names the incompatible features. A feature that this reader
// does not handle is refused by its name, since its layout is another one.
var incompatNames = [...]struct {
	bit     uint32
	name    string
	handled bool
}{
	{0x1, "compression", false},
	{incompFtype, "filetype", true},
	{incompRecover, "needs_recovery", false}, // has its own message
	{0x8, "journal_dev", false},
	{incompMetaBG, "meta_bg", true},
	{0x40, "extent", true},
	{incomp64bit, "64bit", true},
	{0x100, "mmp", true},
	{0x200, "flex_bg", true},
	{0x400, "ea_inode", true},
	{0x1000, "dirdata", false},
	{0x2000, "metadata_csum_seed", true},
	{incompLargeD, "large_dir", true},
	{incompInline, "inline_data", true},
	{0x10000, "encrypt", true}, // encrypted inodes are refused one by one
	{0x20000, "casefold", true},
}

// FS is an open file system. It is safe for concurrent use.
type FS struct {
	r    io.ReaderAt
	size int64

	blockSize      uint32
	blocks         uint64
	inodes         uint32
	firstDataBlock uint32
	blocksPerGroup uint32
	inodesPerGroup uint32
	inodeSize      uint32
	descSize       uint32
	groups         uint64
	firstMetaBG    uint32
	incompat       uint32
	roCompat       uint32
	label          string
	uuid           string

	dirs *lru.Cache[dirKey]
}

// Is reports whether b, the first 2 KiB of a volume, carries the magic number
// of an ext2, ext3 or ext4 superblock.
func Is(b []byte) bool {
	return len(b) >= superOffset+0x3a && binary.LittleEndian.Uint16(b[superOffset+0x38:]) == superMagic
}

// Open reads the superblock of the file system in the first size bytes of r.
// It refuses, by name, features that it cannot read, and file systems whose
// journal holds changes that were never written back: what such a file system
// says is not what the kernel would see.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	b := make([]byte, superSize)
	if err := readFull(r, b, superOffset, "superblock"); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if m := le.Uint16(b[0x38:]); m != superMagic {
		return nil, corrupt("no superblock: magic number %#04x, want %#04x", m, superMagic)
	}
	f := &FS{
		r: r, size: size, dirs: lru.New[dirKey](dirCacheBytes),
		inodes:         le.Uint32(b[0:]),
		blocks:         uint64(le.Uint32(b[4:])),
		firstDataBlock: le.Uint32(b[0x14:]),
		blocksPerGroup: le.Uint32(b[0x20:]),
		inodesPerGroup: le.Uint32(b[0x28:]),
		inodeSize:      128,
		descSize:       32,
		incompat:       le.Uint32(b[0x60:]),
		roCompat:       le.Uint32(b[0x64:]),
		firstMetaBG:    le.Uint32(b[0x104:]),
		label:          string(bytes.TrimRight(b[0x78:0x88], "\x00")),
		uuid:           fmt.Sprintf("%x-%x-%x-%x-%x", b[0x68:0x6c], b[0x6c:0x6e], b[0x6e:0x70], b[0x70:0x72], b[0x72:0x78]),
	}
	if f.roCompat&roCompatCsum != 0 {
		// The kernel's crc32c starts from all ones and does not invert the end.
		got := ^crc32.Checksum(b[:0x3fc], crc32.MakeTable(crc32.Castagnoli))
		if want := le.Uint32(b[0x3fc:]); got != want {
			return nil, corrupt("superblock checksum is %#08x, its content says %#08x: the image is damaged; build or download it again", want, got)
		}
	}
	if le.Uint32(b[0x4c:]) > 0 { // dynamic revision
		f.inodeSize = uint32(le.Uint16(b[0x58:]))
	} else {
		f.incompat, f.roCompat = 0, 0
	}
	if err := f.checkFeatures(b); err != nil {
		return nil, err
	}
	if f.incompat&incomp64bit != 0 {
		f.blocks |= uint64(le.Uint32(b[0x150:])) << 32
		f.descSize = uint32(le.Uint16(b[0xfe:]))
	}
	return f, f.checkGeometry(le.Uint32(b[0x18:]))
}

func (f *FS) checkFeatures(b []byte) error {
	le := binary.LittleEndian
	state, compat := le.Uint16(b[0x3a:]), le.Uint32(b[0x5c:])
	if f.incompat&incompRecover != 0 {
		return corrupt("dirty journal (needs_recovery): the file system was not unmounted cleanly; shut the node down before you take the image, or run e2fsck -p on a copy")
	}
	if state&stateErrors != 0 {
		return corrupt("the superblock records errors (state %#x): run e2fsck on a copy", state)
	}
	if state&stateValid == 0 && compat&compatJournal == 0 {
		return corrupt("not unmounted cleanly and without a journal (state %#x): run e2fsck on a copy", state)
	}
	var refused []string
	rest := f.incompat
	for _, n := range incompatNames {
		if f.incompat&n.bit != 0 && !n.handled {
			refused = append(refused, n.name)
		}
		rest &^= n.bit
	}
	if rest != 0 {
		refused = append(refused, fmt.Sprintf("unknown incompatible features %#x", rest))
	}
	if refused != nil {
		return corrupt("cannot read a file system with %s", strings.Join(refused, ", "))
	}
	return nil
}

func (f *FS) checkGeometry(logBlock uint32) error {
	if logBlock > 6 { // 64 KiB is the largest block that the format knows
		return corrupt("block size 2^(10+%d), want at most 64 KiB", logBlock)
	}
	f.blockSize = 1024 << logBlock
	switch {
	case f.inodeSize < 128 || f.inodeSize > f.blockSize || f.inodeSize&(f.inodeSize-1) != 0:
		return corrupt("inode size %d, want a power of two from 128 to the block size %d", f.inodeSize, f.blockSize)
	case f.descSize < 32 || f.descSize > f.blockSize || f.descSize&(f.descSize-1) != 0:
		return corrupt("group descriptor size %d, want a power of two from 32 to the block size %d", f.descSize, f.blockSize)
	case f.blocksPerGroup == 0 || f.inodesPerGroup == 0:
		return corrupt("%d blocks and %d inodes a group, want more than 0", f.blocksPerGroup, f.inodesPerGroup)
	case f.firstDataBlock > 1 || f.blocks <= uint64(f.firstDataBlock):
		return corrupt("first data block %d of %d blocks", f.firstDataBlock, f.blocks)
	case f.blocks > uint64(f.size)/uint64(f.blockSize):
		return corrupt("truncated: the file system has %d blocks of %d bytes, the volume has only %d bytes; copy or download the image again", f.blocks, f.blockSize, f.size)
	}
	f.groups = (f.blocks - uint64(f.firstDataBlock) + uint64(f.blocksPerGroup) - 1) / uint64(f.blocksPerGroup)
	if uint64(f.inodes) > f.groups*uint64(f.inodesPerGroup) {
		return corrupt("%d inodes in %d groups of %d", f.inodes, f.groups, f.inodesPerGroup)
	}
	return nil
}

// Label returns the volume's name.
func (f *FS) Label() string { return f.label }

// UUID returns the volume's identifier, in lower case.
func (f *FS) UUID() string { return f.uuid }

// inodeTable returns the first block of a group's inode table.
func (f *FS) inodeTable(group uint64) (uint64, error) {
	perBlock := uint64(f.blockSize / f.descSize)
	block := uint64(f.firstDataBlock) + 1 + group/perBlock
	if f.incompat&incompMetaBG != 0 && group/perBlock >= uint64(f.firstMetaBG) {
		first := group - group%perBlock
		block = uint64(f.firstDataBlock) + first*uint64(f.blocksPerGroup)
		if f.hasSuper(first) {
			block++
		}
	}
	d := make([]byte, f.descSize)
	if err := f.readBlock(d, block, uint32(group%perBlock)*f.descSize, "group descriptor"); err != nil {
		return 0, err
	}
	table := uint64(binary.LittleEndian.Uint32(d[8:]))
	if f.descSize >= 64 {
		table |= uint64(binary.LittleEndian.Uint32(d[0x28:])) << 32
	}
	return table, nil
}

// hasSuper tells whether a group starts with a copy of the superblock
// (sparse_super: groups 0, 1 and the powers of 3, 5 and 7).
func (f *FS) hasSuper(group uint64) bool {
	if group <= 1 || f.roCompat&0x1 == 0 {
		return true
	}
	for _, base := range [...]uint64{3, 5, 7} {
		p := base
		for p < group {
			p *= base
		}
		if p == group {
			return true
		}
	}
	return false
}

// readBlock fills p from byte off of a block, which must lie in the volume.
func (f *FS) readBlock(p []byte, block uint64, off uint32, what string) error {
	if block >= f.blocks || uint64(off)+uint64(len(p)) > (f.blocks-block)*uint64(f.blockSize) {
		return corrupt("%s in block %d, the file system has %d", what, block, f.blocks)
	}
	return readFull(f.r, p, int64(block)*int64(f.blockSize)+int64(off), what)
}

func readFull(r io.ReaderAt, p []byte, off int64, what string) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return corrupt("truncated: %s at byte %d is missing; copy or download the image again", what, off)
	}
	return fmt.Errorf("ext4: reading %s at byte %d: %w", what, off, err)
}

func corrupt(format string, args ...any) error {
	return exitcode.BadInput(fmt.Errorf("ext4: "+format, args...))
}
