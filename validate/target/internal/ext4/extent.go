package ext4

import (
	"encoding/binary"
	"sort"
)

// mapping is a run of a file's blocks that lie next to each other on disk, or
// that lie nowhere (hole) and read as zeros.
type mapping struct {
	logical, length uint64 // in blocks
	physical        uint64
	hole            bool
}

const (
	extentMagic  = 0xF30A
	extentHeader = 12
	extentEntry  = 12
	unwritten    = 32768 // longer lengths mark blocks that were never written
)

// mapping returns the mapping that holds block l of the file; reading goes
// forward most of the time, so the last one is kept.
func (in *Inode) mapping(l uint64) (*mapping, error) {
	if m := in.last.Load(); m != nil && l >= m.logical && l < m.logical+m.length {
		return m, nil
	}
	m, err := in.mapBlock(l)
	if err != nil {
		return nil, err
	}
	in.last.Store(&m)
	return &m, nil
}

// mapBlock finds the mapping that holds block l of the file.
func (in *Inode) mapBlock(l uint64) (mapping, error) {
	if in.flags&flagExtents != 0 {
		return in.mapExtent(l)
	}
	return in.mapIndirect(l)
}

func (in *Inode) mapExtent(l uint64) (mapping, error) {
	le := binary.LittleEndian
	// Logical block numbers have 32 bits, so nothing is mapped behind them.
	limit := uint64(1) << 32
	if l >= limit {
		return mapping{logical: l, length: 1 << 20, hole: true}, nil
	}
	node, first := in.raw[0x28:0x28+60], uint64(0)
	depth := le.Uint16(node[6:])
	if depth > maxExtentTree {
		return mapping{}, corrupt("inode %d: extent tree of depth %d, want at most %d", in.Number, depth, maxExtentTree)
	}
	for {
		n, err := in.checkNode(node, depth)
		if err != nil {
			return mapping{}, err
		}
		at := func(i int) []byte { return node[extentHeader+i*extentEntry:] }
		// The last entry that starts at or before l.
		i := sort.Search(n, func(i int) bool { return uint64(le.Uint32(at(i))) > l }) - 1
		if i+1 < n {
			limit = min(limit, uint64(le.Uint32(at(i+1))))
		}
		if limit <= l {
			return mapping{}, corrupt("inode %d: extents are out of order", in.Number)
		}
		if i < 0 {
			return mapping{logical: l, length: limit - l, hole: true}, nil
		}
		e := at(i)
		start := uint64(le.Uint32(e))
		if start < first {
			return mapping{}, corrupt("inode %d: an extent node starts before its parent's entry", in.Number)
		}
		if depth == 0 {
			return in.leaf(e, start, l, limit)
		}
		first = start
		child := uint64(le.Uint32(e[4:])) | uint64(le.Uint16(e[8:]))<<32
		node = make([]byte, in.fs.blockSize)
		if err := in.fs.readBlock(node, child, 0, "extent node"); err != nil {
			return mapping{}, err
		}
		depth--
	}
}

func (in *Inode) checkNode(node []byte, depth uint16) (entries int, err error) {
	le := binary.LittleEndian
	if m := le.Uint16(node); m != extentMagic {
		return 0, corrupt("inode %d: extent node with magic number %#04x, want %#04x", in.Number, m, extentMagic)
	}
	if d := le.Uint16(node[6:]); d != depth {
		return 0, corrupt("inode %d: extent node of depth %d, want %d", in.Number, d, depth)
	}
	n := int(le.Uint16(node[2:]))
	if room := (len(node) - extentHeader) / extentEntry; n > room {
		return 0, corrupt("inode %d: extent node of %d entries, there is room for %d", in.Number, n, room)
	}
	return n, nil
}

func (in *Inode) leaf(e []byte, start, l, limit uint64) (mapping, error) {
	le := binary.LittleEndian
	length, hole := uint64(le.Uint16(e[4:])), false
	if length > unwritten {
		length, hole = length-unwritten, true
	}
	if l >= start+length {
		return mapping{logical: l, length: limit - l, hole: true}, nil
	}
	if length > limit-start {
		return mapping{}, corrupt("inode %d: extents overlap at block %d", in.Number, limit)
	}
	phys := uint64(le.Uint32(e[8:])) | uint64(le.Uint16(e[6:]))<<32
	if phys+length > in.fs.blocks {
		return mapping{}, corrupt("inode %d: extent of blocks %d to %d, the file system has %d", in.Number, phys, phys+length-1, in.fs.blocks)
	}
	return mapping{logical: start, length: length, physical: phys, hole: hole}, nil
}

// mapIndirect follows the block map of ext2 and ext3: 12 blocks in the inode,
// then one, two and three levels of tables.
func (in *Inode) mapIndirect(l uint64) (mapping, error) {
	le := binary.LittleEndian
	per := uint64(in.fs.blockSize / 4)
	block := func(i uint64) uint64 { return uint64(le.Uint32(in.raw[0x28+4*i:])) }
	if l < 12 {
		return in.single(l, block(l), 1), nil
	}
	rest, span := l-12, uint64(1)
	for level := uint64(1); level <= 3; level++ {
		span *= per // blocks reached through this level
		if rest >= span {
			rest -= span
			continue
		}
		table := block(11 + level)
		for span > 1 {
			if table == 0 {
				return in.single(l-rest%span, 0, span), nil
			}
			span /= per
			var b [4]byte
			if err := in.fs.readBlock(b[:], table, uint32(rest/span)*4, "block map"); err != nil {
				return mapping{}, err
			}
			table, rest = uint64(le.Uint32(b[:])), rest%span
		}
		return in.single(l, table, 1), nil
	}
	return mapping{}, corrupt("inode %d: block %d is beyond the largest file of this format", in.Number, l)
}

func (in *Inode) single(l, phys, n uint64) mapping {
	return mapping{logical: l, length: n, physical: phys, hole: phys == 0}
}
