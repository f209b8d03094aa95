package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ext4ID is what is kept of an ext4 file system when another takes its place:
// who looks for it finds the new one, and who could read it can read that.
type ext4ID struct {
	UUID, Label string
	Features    []string // by their names in mke2fs(8)
}

// Where the fields are that only ext4ID reads, in bytes.
const (
	sbCompat = 0x5c
	sbLabel  = 0x78
)

// ext4Features are the features that mke2fs gives a file system with the same
// files and that lose nothing. Others say that files are kept in another way (inline_data,
// bigalloc, encrypt, verity, casefold) or counted (quota, project), which a new file
// system would not do.
var ext4Features = [...]struct {
	field int
	bit   uint32
	name  string
}{
	{sbCompat, 0x4, "has_journal"}, {sbCompat, 0x8, "ext_attr"}, {sbCompat, 0x10, "resize_inode"}, {sbCompat, 0x20, "dir_index"},
	{sbCompat, 0x1000, "orphan_file"},
	{sbIncompat, 0x2, "filetype"}, {sbIncompat, 0x40, "extent"}, {sbIncompat, incompat64bit, "64bit"}, {sbIncompat, 0x200, "flex_bg"},
	{sbIncompat, incompatCsumSeed, "metadata_csum_seed"}, {sbIncompat, 0x4000, "large_dir"},
	{sbROCompat, 0x1, "sparse_super"}, {sbROCompat, 0x2, "large_file"}, {sbROCompat, 0x8, "huge_file"}, {sbROCompat, 0x10, "uninit_bg"},
	{sbROCompat, 0x20, "dir_nlink"}, {sbROCompat, 0x40, "extra_isize"}, {sbROCompat, roCompatMetaCsum, "metadata_csum"},
}

// readExt4ID reads the superblock of the file system at offset.
func readExt4ID(r io.ReaderAt, offset int64) (ext4ID, error) {
	super := make([]byte, 1024)
	if _, err := r.ReadAt(super, offset+superOffset); err != nil {
		return ext4ID{}, fmt.Errorf("reading the superblock: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint16(super[sbMagic:]) != 0xef53 {
		return ext4ID{}, errors.New("no ext4 file system is there")
	}
	if size, block := le.Uint16(super[sbInodeSize:]), 1024<<le.Uint32(super[sbLogBlock:]); size != 256 || block != blockSize {
		return ext4ID{}, fmt.Errorf("its inodes have %d bytes and its blocks %d: expected 256 and %d", size, block, blockSize)
	}
	id := ext4ID{Label: strings.TrimRight(string(super[sbLabel:sbLabel+16]), "\x00")}
	u := super[sbUUID : sbUUID+16]
	id.UUID = fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
	rest := map[int]uint32{sbCompat: le.Uint32(super[sbCompat:]), sbIncompat: le.Uint32(super[sbIncompat:]), sbROCompat: le.Uint32(super[sbROCompat:])}
	for _, f := range ext4Features {
		if rest[f.field]&f.bit != 0 {
			id.Features = append(id.Features, f.name)
			rest[f.field] &^= f.bit
		}
	}
	for _, kind := range []struct {
		field int
		name  string
	}{{sbCompat, "compatible"}, {sbIncompat, "incompatible"}, {sbROCompat, "read-only compatible"}} {
		if bits := rest[kind.field]; bits != 0 {
			return ext4ID{}, fmt.Errorf("it has %s features (%#x) that a new file system in its place would not have", kind.name, bits)
		}
	}
	return id, nil
}

// remakeArgv makes the file system id of that many bytes at offset of the disk,
// with the files of tree.
func remakeArgv(disk, tree string, offset, size int64, id ext4ID) []string {
	argv := []string{"mke2fs", "-q", "-F", "-t", "ext4", "-m", "1", "-b", fmt.Sprint(blockSize), "-I", "256",
		"-O", "none," + strings.Join(id.Features, ","), "-U", id.UUID,
		"-E", fmt.Sprintf("offset=%d,hash_seed=%s,assume_storage_prezeroed=1,root_owner=0:0", offset, id.UUID)}
	if id.Label != "" {
		argv = append(argv, "-L", id.Label)
	}
	return append(argv, "-d", tree, disk, fmt.Sprint(size/blockSize))
}
