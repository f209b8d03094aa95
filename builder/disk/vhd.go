package disk

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// vhdFooterSize is what a fixed VHD has behind the disk, in bytes.
const vhdFooterSize = 512

// writeVHD writes a fixed VHD, the only kind that Azure takes: the disk, whole
// MiB of it, and a footer. qemu-img would write one with the time and a random
// identifier in its footer, another one each time.
func writeVHD(ctx context.Context, host run.Runner, src Source, path string) (err error) {
	out, err := exclusive(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := copySparse(out, 0, src.Raw); err != nil {
		return err
	}
	footer, err := vhdFooter(src.Size, src.Seed)
	if err != nil {
		return err
	}
	if _, err := out.WriteAt(footer, src.Size); err != nil {
		return err
	}
	// qemu-img has no check for VHD; comparing reads all of it.
	return qemuImg(ctx, host, "compare", "-q", "-f", "vpc", "-F", "raw", path, src.Raw)
}

// vhdFooter follows Microsoft's "Virtual Hard Disk Image Format Specification",
// 1.0.
func vhdFooter(size int64, seed string) ([]byte, error) {
	if size <= 0 || size%(1<<20) != 0 {
		return nil, fmt.Errorf("disk of %d bytes: a VHD for Azure has whole MiB", size)
	}
	const (
		reserved   = 2 // a bit that is always set
		version1   = 0x00010000
		noHeader   = ^uint64(0)
		fixedDisk  = 2
		checksumAt = 64
	)
	f := make([]byte, vhdFooterSize)
	be := binary.BigEndian
	copy(f, "conectix")
	be.PutUint32(f[8:], reserved)
	be.PutUint32(f[12:], version1)
	be.PutUint64(f[16:], noHeader)
	// The time of creation stays zero, which is the year 2000. The creator says
	// by whose rule to read the size: readers take the exact one of a disk that
	// Windows made, and round by the geometry otherwise.
	copy(f[28:], "win ")
	be.PutUint32(f[32:], 0x000a0000)
	copy(f[36:], "Wi2k")
	be.PutUint64(f[40:], uint64(size))
	be.PutUint64(f[48:], uint64(size))
	cylinders, heads, sectors := vhdGeometry(size / SectorSize)
	be.PutUint16(f[56:], cylinders)
	f[58], f[59] = heads, sectors
	be.PutUint32(f[60:], fixedDisk)
	id := sha256.Sum256([]byte(seed + "\x00vhd"))
	copy(f[68:84], id[:])
	var sum uint32
	for _, b := range f {
		sum += uint32(b)
	}
	be.PutUint32(f[checksumAt:], ^sum)
	return f, nil
}

// vhdGeometry is the "CHS calculation" of the specification's appendix.
func vhdGeometry(total int64) (cylinders uint16, heads, sectors uint8) {
	const maxCylinders = 65535
	total = min(total, maxCylinders*16*255)
	var h, s, tracks int64
	if total >= maxCylinders*16*63 {
		h, s = 16, 255
		tracks = total / s
	} else {
		s = 17
		tracks = total / s
		h = max((tracks+1023)/1024, 4)
		if tracks >= h*1024 || h > 16 {
			h, s = 16, 31
			tracks = total / s
		}
		if tracks >= h*1024 {
			h, s = 16, 63
			tracks = total / s
		}
	}
	return uint16(tracks / h), uint8(h), uint8(s)
}
