package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"time"
)

// Where the fields are that ext4Times reads and writes, in bytes, from the
// kernel's Documentation/filesystems/ext4.
const (
	superOffset = 1024

	sbInodes         = 0x00
	sbBlocksLo       = 0x04
	sbFirstBlock     = 0x14
	sbLogBlock       = 0x18
	sbBlocksPerGroup = 0x20
	sbInodesPerGroup = 0x28
	sbMagic          = 0x38
	sbInodeSize      = 0x58
	sbIncompat       = 0x60
	sbROCompat       = 0x64
	sbUUID           = 0x68
	sbDescSize       = 0xfe
	sbBlocksHi       = 0x150
	sbCsumSeed       = 0x270

	incompat64bit      = 0x80
	incompatCsumSeed   = 0x2000
	roCompatMetaCsum   = 0x400
	gdInodeTableLo     = 0x08
	gdInodeTableHi     = 0x28
	inoMode            = 0x00
	inoATime           = 0x08
	inoCTime           = 0x0c
	inoMTime           = 0x10
	inoGeneration      = 0x64
	inoChecksumLo      = 0x7c
	inoExtraSize       = 0x80
	inoChecksumHi      = 0x82
	inoCTimeExtra      = 0x84
	inoMTimeExtra      = 0x88
	inoATimeExtra      = 0x8c
	inoCRTime          = 0x90
	inoCRTimeExtra     = 0x94
	inoTimesEnd        = 0x98
	oldInodeSize       = 0x80
	maxGroupsOfOneDisk = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c is the checksum as ext4 computes it: without the final inversion that
// Go's package does, so that one call goes on where the last one ended.
func crc32c(seed uint32, data []byte) uint32 {
	return ^crc32.Update(^seed, castagnoli, data)
}

// clampTimes sets the times of all inodes of the ext4 file system at offset: a
// modification later than latest becomes latest, and creation, change and
// access become the modification. mke2fs copies a file's change time from this
// host, where nothing can set it.
//
// It knows file systems with blocks of 4096 and inodes of at least 256 bytes,
// with and without checksums, as mke2fs has made them for years, and refuses
// others.
func clampTimes(disk *os.File, offset int64, latest time.Time) error {
	super := make([]byte, 1024)
	if _, err := disk.ReadAt(super, offset+superOffset); err != nil {
		return fmt.Errorf("reading the superblock: %w", err)
	}
	le := binary.LittleEndian
	u32 := func(at int) uint32 { return le.Uint32(super[at:]) }
	inodeSize := int64(le.Uint16(super[sbInodeSize:]))
	switch {
	case le.Uint16(super[sbMagic:]) != 0xef53:
		return errors.New("no ext4 file system is there")
	case inodeSize < inoTimesEnd || inodeSize > 4096 || u32(sbLogBlock) != 2 || u32(sbBlocksPerGroup) == 0:
		return fmt.Errorf("inodes of %d bytes and blocks of %d: expected 256 and %d", inodeSize, 1024<<u32(sbLogBlock), blockSize)
	}
	descSize, blocks := int64(32), int64(u32(sbBlocksLo))
	if u32(sbIncompat)&incompat64bit != 0 {
		descSize = int64(le.Uint16(super[sbDescSize:]))
		blocks |= int64(u32(sbBlocksHi)) << 32
	}
	perGroup := int64(u32(sbBlocksPerGroup))
	groups := (blocks - int64(u32(sbFirstBlock)) + perGroup - 1) / perGroup
	if descSize < 32 || descSize > blockSize || groups < 1 || groups > maxGroupsOfOneDisk {
		return fmt.Errorf("%d groups with descriptors of %d bytes: expected 32 or 64 bytes", groups, descSize)
	}
	descriptors := make([]byte, groups*descSize)
	if _, err := disk.ReadAt(descriptors, offset+(int64(u32(sbFirstBlock))+1)*blockSize); err != nil {
		return fmt.Errorf("reading the group descriptors: %w", err)
	}
	sums := inodeSums{on: u32(sbROCompat)&roCompatMetaCsum != 0, seed: crc32c(^uint32(0), super[sbUUID:sbUUID+16])}
	if u32(sbIncompat)&incompatCsumSeed != 0 {
		sums.seed = u32(sbCsumSeed)
	}
	inodesPerGroup := int64(u32(sbInodesPerGroup))
	table := make([]byte, inodesPerGroup*inodeSize)
	for group := range groups {
		desc := descriptors[group*descSize:]
		at := int64(le.Uint32(desc[gdInodeTableLo:]))
		if descSize > gdInodeTableHi {
			at |= int64(le.Uint32(desc[gdInodeTableHi:])) << 32
		}
		at = offset + at*blockSize
		if _, err := disk.ReadAt(table, at); err != nil {
			return fmt.Errorf("reading the inodes of group %d: %w", group, err)
		}
		if err := clampTable(table, inodeSize, uint32(group*inodesPerGroup)+1, sums, latest, func(block int64, data []byte) error {
			_, err := disk.WriteAt(data, at+block)
			return err
		}); err != nil {
			return fmt.Errorf("writing the inodes of group %d: %w", group, err)
		}
	}
	return nil
}

// inodeSums says how a file system keeps the checksums of its inodes, if it does.
type inodeSums struct {
	on   bool
	seed uint32
}

// clampTable does it for one table, whose first inode is number first, and
// writes the blocks that changed and no others: the disk is sparse.
func clampTable(table []byte, inodeSize int64, first uint32, sums inodeSums, latest time.Time, write func(at int64, data []byte) error) error {
	var before [blockSize]byte
	for at := int64(0); at < int64(len(table)); at += blockSize {
		block := table[at:min(at+blockSize, int64(len(table)))]
		copy(before[:], block)
		for i := int64(0); i+inodeSize <= int64(len(block)); i += inodeSize {
			clampInode(block[i:i+inodeSize], first+uint32((at+i)/inodeSize), sums, latest)
		}
		if !bytes.Equal(before[:len(block)], block) {
			if err := write(at, block); err != nil {
				return err
			}
		}
	}
	return nil
}

// clampInode changes an inode that is in use.
func clampInode(inode []byte, number uint32, sums inodeSums, latest time.Time) {
	le := binary.LittleEndian
	// The numbers that are reserved for what this file system has not are
	// not in use either, and have no room set aside for finer times.
	if le.Uint16(inode[inoMode:]) == 0 || le.Uint16(inode[inoExtraSize:]) < inoTimesEnd-oldInodeSize {
		return
	}
	seconds, extra := le.Uint32(inode[inoMTime:]), le.Uint32(inode[inoMTimeExtra:])
	if !inodeTime(seconds, extra).Before(latest) {
		seconds, extra = uint32(latest.Unix()), uint32(timeEpoch(latest.Unix()))
	}
	for _, at := range [...]int{inoATime, inoCTime, inoMTime, inoCRTime} {
		le.PutUint32(inode[at:], seconds)
	}
	for _, at := range [...]int{inoATimeExtra, inoCTimeExtra, inoMTimeExtra, inoCRTimeExtra} {
		le.PutUint32(inode[at:], extra)
	}
	if !sums.on {
		return
	}
	le.PutUint16(inode[inoChecksumLo:], 0)
	le.PutUint16(inode[inoChecksumHi:], 0)
	sum := crc32c(sums.seed, le.AppendUint32(nil, number))
	sum = crc32c(sum, inode[inoGeneration:inoGeneration+4])
	sum = crc32c(sum, inode)
	le.PutUint16(inode[inoChecksumLo:], uint16(sum))
	le.PutUint16(inode[inoChecksumHi:], uint16(sum>>16))
}

// inodeTime decodes a time: 32 signed bits of seconds, and in extra two more
// above nanoseconds.
func inodeTime(seconds, extra uint32) time.Time {
	return time.Unix(int64(int32(seconds))+int64(extra&3)<<32, int64(extra>>2))
}

// timeEpoch are the two bits that extend the seconds beyond 2038.
func timeEpoch(unix int64) int64 { return (unix - int64(int32(unix))) >> 32 & 3 }
