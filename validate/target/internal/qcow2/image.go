// Package qcow2 reads qcow2 images (versions 2 and 3, clusters compressed with
// zlib or zstd, extended L2 entries, backing files) through an io.ReaderAt.
//
// Nothing is read before it is asked for, and what is kept in memory is bounded
// by constants whatever the image says. Every error about the content carries
// exit code 2. The format is described in QEMU's docs/interop/qcow2.txt.
package qcow2

import (
	"encoding/binary"
	"io"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/target/internal/lru"
)

const (
	// Bytes that one image keeps: decompressed clusters, and L2 tables. A node
	// image of 3 GB has half a megabyte of L2 tables at 64 KiB a cluster.
	clusterCacheBytes = 16 << 20
	tableCacheBytes   = 8 << 20

	copiedFlag     = 1 << 63
	compressedFlag = 1 << 62
	offsetMask     = 0x00fffffffffffe00
	reservedBits   = 0x3f000000000001fe
	zeroFlag       = 1
)

// Image is the guest's view of an image. It is safe for concurrent use.
type Image struct {
	r        io.ReaderAt
	fileSize int64
	h        *header
	backing  io.ReaderAt
	backSize int64

	clusters *lru.Cache[int64] // by L2 entry: decompressed content
	tables   *lru.Cache[int64] // by offset: L2 tables
	workers  *workers
}

// Open reads the header of the image in the first fileSize bytes of r.
func Open(r io.ReaderAt, fileSize int64) (*Image, error) {
	h, err := readHeader(r, fileSize)
	if err != nil {
		return nil, err
	}
	return &Image{
		r: r, fileSize: fileSize, h: h,
		clusters: lru.New[int64](clusterCacheBytes),
		tables:   lru.New[int64](tableCacheBytes),
		workers:  newWorkers(h.zstd),
	}, nil
}

// Size returns the virtual size in bytes.
func (m *Image) Size() int64 { return m.h.size }

// Backing returns the name and the format of the backing file, as stored. Both
// are empty when there is none; the format may be empty in old images.
func (m *Image) Backing() (name, format string) { return m.h.backing, m.h.backingFormat }

// SetBacking gives the image what lies behind its unallocated clusters. Until
// then they read as zeros.
func (m *Image) SetBacking(r io.ReaderAt, size int64) { m.backing, m.backSize = r, size }

// Verify looks at L2 tables, of up to limit bytes but at least one, and reports
// clusters that lie outside the file. It finds a truncated download before a
// check stumbles over it.
func (m *Image) Verify(limit int64) error {
	for i := range m.h.l1Size {
		l2, err := m.l2Offset(uint64(i))
		if err != nil {
			return err
		}
		if l2 == 0 {
			continue
		}
		table, err := m.table(l2)
		if err != nil {
			return err
		}
		for at := 0; at < len(table); at += m.entrySize() {
			e := binary.BigEndian.Uint64(table[at:])
			if _, err := m.locate(e); err != nil {
				return err
			}
		}
		if limit -= int64(len(table)); limit <= 0 {
			return nil
		}
	}
	return nil
}

// ReadAt reads guest bytes.
func (m *Image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, corrupt("read at byte %d", off)
	}
	done := 0
	for done < len(p) {
		if off >= m.h.size {
			return done, io.EOF
		}
		cluster := int64(1) << m.h.clusterBits
		in := off & (cluster - 1)
		n := min(int64(len(p)-done), cluster-in, m.h.size-off)
		if err := m.readCluster(p[done:done+int(n)], off, in); err != nil {
			return done, err
		}
		done, off = done+int(n), off+n
	}
	return done, nil
}

// readCluster fills p with guest bytes from off, which lie in one cluster
// starting at byte in of it.
func (m *Image) readCluster(p []byte, off, in int64) error {
	e, bitmap, err := m.entry(off)
	if err != nil {
		return err
	}
	loc, err := m.locate(e)
	switch {
	case err != nil:
		return err
	case loc.compressed:
		return m.readCompressed(p, loc, in)
	case m.h.extendedL2:
		return m.readSubclusters(p, off, in, loc.offset, bitmap)
	case m.h.version >= 3 && e&zeroFlag != 0:
		clear(p)
		return nil
	case loc.offset == 0:
		return m.readBacking(p, off)
	}
	return readFull(m.r, p, loc.offset+in, "data cluster")
}

// readSubclusters reads from a cluster that is divided into 32 parts, each of
// which is allocated, zero, or in the backing file.
func (m *Image) readSubclusters(p []byte, off, in, host int64, bitmap uint64) error {
	sub := int64(1) << (m.h.clusterBits - 5)
	for len(p) > 0 {
		i := in / sub
		n := min(int64(len(p)), sub-in%sub)
		alloc, zero := bitmap>>i&1 != 0, bitmap>>(32+i)&1 != 0
		var err error
		switch {
		case alloc && zero, alloc && host == 0:
			err = corrupt("subcluster %d at guest byte %d is marked both as data and as zeros or has no place", i, off)
		case alloc:
			err = readFull(m.r, p[:n], host+in, "data cluster")
		case zero:
			clear(p[:n])
		default:
			err = m.readBacking(p[:n], off)
		}
		if err != nil {
			return err
		}
		p, off, in = p[n:], off+n, in+n
	}
	return nil
}

func (m *Image) readBacking(p []byte, off int64) error {
	n := int64(0)
	if m.backing != nil && off < m.backSize {
		n = min(int64(len(p)), m.backSize-off)
		if err := readFull(m.backing, p[:n], off, "backing file"); err != nil {
			return err
		}
	}
	clear(p[n:])
	return nil
}

// entry returns the L2 entry for a guest byte, 0 if there is no L2 table.
func (m *Image) entry(off int64) (entry, bitmap uint64, err error) {
	size := m.entrySize()
	perTable := uint64(1) << m.h.clusterBits / uint64(size)
	cluster := uint64(off) >> m.h.clusterBits
	l2, err := m.l2Offset(cluster / perTable)
	if err != nil || l2 == 0 {
		return 0, 0, err
	}
	table, err := m.table(l2)
	if err != nil {
		return 0, 0, err
	}
	at := table[int(cluster%perTable)*size:]
	if m.h.extendedL2 {
		bitmap = binary.BigEndian.Uint64(at[8:])
	}
	return binary.BigEndian.Uint64(at), bitmap, nil
}

func (m *Image) entrySize() int {
	if m.h.extendedL2 {
		return 16
	}
	return 8
}

// l2Offset reads one entry of the L1 table, a cluster of which is cached.
func (m *Image) l2Offset(i uint64) (int64, error) {
	const part = 4096 // the L1 table of a hostile image may be 32 MiB
	at := m.h.l1Offset + int64(i*8)&^(part-1)
	b, ok := m.tables.Get(-1 - at) // L2 tables have the keys from 0
	if !ok {
		b = make([]byte, min(part, m.h.l1Offset+int64(m.h.l1Size)*8-at))
		if err := readFull(m.r, b, at, "L1 table"); err != nil {
			return 0, err
		}
		m.tables.Put(-1-at, b)
	}
	e := binary.BigEndian.Uint64(b[i*8&(part-1):])
	off := int64(e & offsetMask)
	if e&^(offsetMask|copiedFlag) != 0 {
		return 0, corrupt("L1 entry %d is %#016x: reserved bits are set", i, e)
	}
	cluster := int64(1) << m.h.clusterBits
	if off%cluster != 0 || off > m.fileSize-cluster {
		return 0, corrupt("L1 entry %d points to byte %d of a file of %d bytes, want whole clusters of %d bytes: the image is truncated or damaged", i, off, m.fileSize, cluster)
	}
	return off, nil
}

func (m *Image) table(off int64) ([]byte, error) {
	if b, ok := m.tables.Get(off); ok {
		return b, nil
	}
	b := make([]byte, 1<<m.h.clusterBits)
	if err := readFull(m.r, b, off, "L2 table"); err != nil {
		return nil, err
	}
	m.tables.Put(off, b)
	return b, nil
}

// location is where a cluster's content is stored.
type location struct {
	offset     int64 // 0: nowhere
	length     int64 // bytes at most, of a compressed cluster
	compressed bool
}

// locate decodes an L2 entry and checks that it stays inside the file.
func (m *Image) locate(e uint64) (location, error) {
	if e&compressedFlag != 0 {
		x := 62 - (m.h.clusterBits - 8)
		off := int64(e & (1<<x - 1))
		sectors := int64(e&^(copiedFlag|compressedFlag)>>x) + 1
		n := sectors*512 - off&511
		// The last sector, and only that, may be cut by the end of the file.
		if off >= m.fileSize || off+n > (m.fileSize+511)&^511 {
			return location{}, corrupt("compressed cluster at byte %d with up to %d bytes in a file of %d bytes: the image is truncated or damaged", off, n, m.fileSize)
		}
		return location{off, min(n, m.fileSize-off), true}, nil
	}
	off := int64(e & offsetMask)
	cluster := int64(1) << m.h.clusterBits
	switch {
	case e&reservedBits != 0:
		return location{}, corrupt("L2 entry %#016x: reserved bits are set", e)
	case off&(cluster-1) != 0:
		return location{}, corrupt("data cluster at byte %d, want a multiple of %d", off, cluster)
	case off >= m.fileSize && off != 0 && (m.h.version < 3 || m.h.extendedL2 || e&zeroFlag == 0):
		return location{}, corrupt("data cluster at byte %d of a file of %d bytes: the image is truncated or damaged", off, m.fileSize)
	}
	return location{offset: off}, nil
}
