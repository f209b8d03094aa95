package treediff

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

const (
	// sector is the unit in which ranges of a disk are told, in bytes.
	sector = 512
	// maxDisk is the largest disk that is compared, in bytes: what a qcow2
	// says of its size costs nothing, and reading it costs time.
	maxDisk = 1 << 40
	// maxRanges is how many ranges are listed; all are counted.
	maxRanges = 1000
)

// Range is a run of bytes that differ, in whole sectors.
type Range struct {
	Start  int64 `json:"start"`  // from the start of the disk, in bytes
	Length int64 `json:"length"` // bytes
	// Where it lies: "partition 3", or "outside of all partitions", which is
	// where a partition table and a boot loader's gap are.
	Where string `json:"where,omitempty"`
	// Offset of Start in that partition, in bytes.
	Offset int64 `json:"offset,omitempty"`
}

// PartitionChange is a partition that differs.
type PartitionChange struct {
	Number int               `json:"number"`
	Kind   Kind              `json:"kind"`
	A      *target.Partition `json:"a,omitempty"`
	B      *target.Partition `json:"b,omitempty"`
}

// DiskResult is all in which two disks differ as a guest sees them.
type DiskResult struct {
	SizeA int64 `json:"sizeA"` // bytes
	SizeB int64 `json:"sizeB"`
	// GUIDA and GUIDB are the identifiers in the partition tables.
	GUIDA      string            `json:"guidA,omitempty"`
	GUIDB      string            `json:"guidB,omitempty"`
	Partitions []PartitionChange `json:"partitions,omitempty"`
	Ranges     []Range           `json:"ranges,omitempty"`
	// TotalRanges and TotalBytes count those too that are not listed.
	TotalRanges int   `json:"totalRanges"`
	TotalBytes  int64 `json:"totalBytes"`
}

// Same tells whether nothing differs.
func (r DiskResult) Same() bool {
	return r.SizeA == r.SizeB && r.GUIDA == r.GUIDB && len(r.Partitions) == 0 && r.TotalRanges == 0
}

// Disks compares two disks byte for byte, and their partition tables. Where one
// is longer, the rest of it counts as one range. Both have to be disks:
// target.Target.Disk says whether one is.
func Disks(ctx context.Context, a, b *target.Target) (DiskResult, error) {
	result := Tables(a, b)
	diskA, sizeA := a.Disk()
	diskB, sizeB := b.Disk()
	for _, t := range []*target.Target{a, b} {
		if disk, size := t.Disk(); disk == nil {
			return result, badf("comparing disks: %s is a %s, want a disk image", t.Path(), t.Kind())
		} else if size > maxDisk {
			return result, badf("comparing disks: %s says that it has %d bytes, want at most %d", t.Path(), size, int64(maxDisk))
		}
	}
	ranges, total, differ, err := Bytes(ctx, diskA, sizeA, diskB, sizeB)
	if err != nil {
		return result, fmt.Errorf("comparing the disks of %s and %s: %w", a.Path(), b.Path(), err)
	}
	for i := range ranges {
		ranges[i].locate(a.Partitions())
	}
	result.Ranges, result.TotalRanges, result.TotalBytes = ranges, total, differ
	return result, nil
}

// Tables compares sizes and partition tables alone, which takes no time.
func Tables(a, b *target.Target) DiskResult {
	result := DiskResult{GUIDA: a.DiskGUID(), GUIDB: b.DiskGUID()}
	_, result.SizeA = a.Disk()
	_, result.SizeB = b.Disk()
	byNumber := func(t *target.Target) map[int]target.Partition {
		m := map[int]target.Partition{}
		for _, p := range t.Partitions() {
			m[p.Number] = p
		}
		return m
	}
	in, out := byNumber(a), byNumber(b)
	for n, p := range in {
		if q, ok := out[n]; !ok {
			result.Partitions = append(result.Partitions, PartitionChange{Number: n, Kind: Removed, A: &p})
		} else if p != q {
			result.Partitions = append(result.Partitions, PartitionChange{Number: n, Kind: Changed, A: &p, B: &q})
		}
	}
	for n, q := range out {
		if _, ok := in[n]; !ok {
			result.Partitions = append(result.Partitions, PartitionChange{Number: n, Kind: Added, B: &q})
		}
	}
	slices.SortFunc(result.Partitions, func(x, y PartitionChange) int { return x.Number - y.Number })
	return result
}

// locate says in which partition a range begins.
func (r *Range) locate(parts []target.Partition) {
	r.Where = "outside of all partitions"
	for _, p := range parts {
		if r.Start >= p.Start && r.Start-p.Start < p.Length {
			r.Where, r.Offset = fmt.Sprintf("partition %d", p.Number), r.Start-p.Start
		}
	}
}

// Bytes lists the ranges in which a and b, of the given sizes, differ. No more
// than 1000 are listed; total counts all of them, and differ the bytes in them.
func Bytes(ctx context.Context, a io.ReaderAt, sizeA int64, b io.ReaderAt, sizeB int64) (ranges []Range, total int, differ int64, err error) {
	bufA, bufB := make([]byte, chunk), make([]byte, chunk)
	var open *Range
	shut := func() {
		if open == nil {
			return
		}
		if total++; len(ranges) < maxRanges {
			ranges = append(ranges, *open)
		}
		differ += open.Length
		open = nil
	}
	add := func(start, length int64) {
		if open != nil && open.Start+open.Length == start {
			open.Length += length
			return
		}
		shut()
		open = &Range{Start: start, Length: length}
	}
	common := min(sizeA, sizeB)
	for at := int64(0); at < common; at += chunk {
		if ctx.Err() != nil {
			return nil, 0, 0, context.Cause(ctx)
		}
		n := min(chunk, common-at)
		if err := readFull(a, bufA[:n], at); err != nil {
			return nil, 0, 0, err
		}
		if err := readFull(b, bufB[:n], at); err != nil {
			return nil, 0, 0, err
		}
		if bytes.Equal(bufA[:n], bufB[:n]) {
			continue
		}
		for off := int64(0); off < n; off += sector {
			end := min(off+sector, n)
			if !bytes.Equal(bufA[off:end], bufB[off:end]) {
				add(at+off, end-off)
			}
		}
	}
	if sizeA != sizeB {
		add(common, max(sizeA, sizeB)-common)
	}
	shut()
	return ranges, total, differ, nil
}

// readFull reads all of p; an end before that is an error.
func readFull(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = badf("ends at byte %d, want %d more", at+int64(n), len(p)-n)
	}
	return err
}

// DiskSum is the SHA-256 of a disk as a guest sees it, in hexadecimal: equal for
// a raw image and a qcow2 of it, however that is compressed.
func DiskSum(ctx context.Context, t *target.Target) (string, error) {
	disk, size := t.Disk()
	if disk == nil {
		return "", badf("%s is a %s, want a disk image", t.Path(), t.Kind())
	}
	if size > maxDisk {
		return "", badf("%s says that it has %d bytes, want at most %d", t.Path(), size, int64(maxDisk))
	}
	h := sha256.New()
	buf := make([]byte, chunk)
	for at := int64(0); at < size; at += chunk {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		p := buf[:min(chunk, size-at)]
		if err := readFull(disk, p, at); err != nil {
			return "", fmt.Errorf("reading %s: %w", t.Path(), err)
		}
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
