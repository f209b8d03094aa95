package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// The format is QEMU's docs/interop/qcow2.rst, version 3.
const (
	qcow2ClusterBits = 16
	qcow2Cluster     = 1 << qcow2ClusterBits
	qcow2Sector      = 512 // unit of a compressed cluster's length
	qcow2HeaderSize  = 112
	qcow2ByZstd      = 1
	// One table of the second level has a cluster of entries, a block of
	// reference counts a cluster of counts.
	qcow2L2Entries   = qcow2Cluster / 8
	qcow2BlockCounts = qcow2Cluster / 2

	qcow2Compressed = 1 << 62 // the entry is of a compressed cluster
	qcow2Copied     = 1 << 63 // its reference count is one
	// Where a compressed cluster's length stands in its entry.
	qcow2LengthShift = 62 - (qcow2ClusterBits - 8)

	qcow2IncompatCompression = 1 << 3
)

// writeQCOW2 compresses with zstd: half the time of zlib to write and less to
// read, for the same size; QEMU reads it since 5.1. Clusters have the default
// 64 KiB, since a guest's random read must unpack a whole one.
//
// It is not qemu-img's work for two reasons. What `qemu-img convert -c` writes in
// order it compresses on one processor, and out of order (-W) the same disk gives
// another file each time. And its bytes follow from the host's libzstd; these
// follow from this program alone. qemu-img checks the result.
func writeQCOW2(ctx context.Context, host run.Runner, src Source, path string) (err error) {
	in, err := os.Open(src.Raw)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := exclusive(path)
	if err != nil {
		return err
	}
	w := &qcow2Writer{out: out, size: src.Size, next: qcow2Cluster}
	if err := errors.Join(w.copy(ctx, in), w.finish(), out.Close()); err != nil {
		return err
	}
	return qemuImg(ctx, host, "check", "-q", "-f", "qcow2", path)
}

// qcow2Writer places clusters in the order of the disk. The header comes last:
// until then no reader takes the file for an image.
type qcow2Writer struct {
	out  io.WriterAt
	size int64      // of the disk, in bytes
	next int64      // where the next cluster of the file goes
	l2   [][]uint64 // by entry of the first level; nil for a table of nothing
	refs []uint16   // reference counts by cluster of the file

	// Compressed clusters follow each other byte by byte, in a cluster of the
	// file that is written when it is full.
	packed   []byte
	packedAt int64
}

// qcow2Batch are clusters that one goroutine compresses.
type qcow2Batch struct {
	first  int64    // the number of the first on the disk
	data   []byte   // whole clusters
	made   [][]byte // each compressed; nil for zeros, the cluster itself for what does not shrink
	packed []byte   // holds the compressed ones
	done   chan struct{}
}

// qcow2BatchSize is large enough that handing batches on costs nothing.
const qcow2BatchSize = 16 * qcow2Cluster

// copy writes the disk's clusters, compressed by all processors.
func (w *qcow2Writer) copy(ctx context.Context, in *os.File) error {
	workers := runtime.GOMAXPROCS(0)
	work, order := make(chan *qcow2Batch), make(chan *qcow2Batch, 2*workers)
	group, ctx := errgroup.WithContext(ctx)
	free := make(chan *qcow2Batch, 2*workers+2)
	for range cap(free) {
		free <- &qcow2Batch{data: make([]byte, 0, qcow2BatchSize), packed: make([]byte, 0, qcow2BatchSize+qcow2Cluster)}
	}
	group.Go(func() error {
		defer close(work)
		defer close(order)
		return eachBatch(ctx, in, w.size, free, func(b *qcow2Batch) error {
			for _, to := range []chan *qcow2Batch{order, work} {
				select {
				case to <- b:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	})
	for range workers {
		group.Go(func() error {
			encoder, err := newQCOW2Encoder(qcow2Level)
			if err != nil {
				return err
			}
			for b := range work {
				b.compress(encoder)
				close(b.done)
			}
			return nil
		})
	}
	group.Go(func() error {
		for b := range order {
			select {
			case <-b.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := w.place(b); err != nil {
				return err
			}
			free <- b
		}
		return nil
	})
	return group.Wait()
}

// qcow2Level is chosen from the table in docs/reproducible.md.
const qcow2Level = zstd.SpeedDefault

// newQCOW2Encoder leaves checksums out: the image has a digest.
func newQCOW2Encoder(level zstd.EncoderLevel) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithWindowSize(qcow2Cluster))
}

// eachBatch reads the clusters of a disk of size bytes that are not in holes, into
// batches that are free.
func eachBatch(ctx context.Context, in *os.File, size int64, free <-chan *qcow2Batch, do func(*qcow2Batch) error) error {
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // a hole to the end
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		at = max(at, data/qcow2Cluster*qcow2Cluster)
		for hole = min(hole, size); at < hole; {
			var b *qcow2Batch
			select {
			case b = <-free:
			case <-ctx.Done():
				return ctx.Err()
			}
			b.first, b.done = at/qcow2Cluster, make(chan struct{})
			b.data = b.data[:min(qcow2BatchSize, clustersOf(hole-at)*qcow2Cluster)]
			n, err := in.ReadAt(b.data, at)
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			clear(b.data[n:]) // the last cluster of the disk may be a part of one
			if err := do(b); err != nil {
				return err
			}
			at += int64(len(b.data))
		}
	}
	return nil
}

var qcow2Zeros [qcow2Cluster]byte

func (b *qcow2Batch) compress(encoder *zstd.Encoder) {
	b.made, b.packed = b.made[:0], b.packed[:0]
	for cluster := range slices.Chunk(b.data, qcow2Cluster) {
		if bytes.Equal(cluster, qcow2Zeros[:]) {
			b.made = append(b.made, nil)
			continue
		}
		from := len(b.packed)
		b.packed = encoder.EncodeAll(cluster, b.packed)
		made := b.packed[from:]
		if len(made) >= qcow2Cluster {
			made, b.packed = cluster, b.packed[:from]
		}
		b.made = append(b.made, made)
	}
}

// place gives each cluster its place in the file.
func (w *qcow2Writer) place(b *qcow2Batch) error {
	for i, made := range b.made {
		if made == nil {
			continue
		}
		var entry uint64
		var err error
		if len(made) == qcow2Cluster {
			entry, err = w.placeWhole(made)
		} else {
			entry, err = w.placePacked(made)
		}
		if err != nil {
			return err
		}
		w.setEntry(b.first+int64(i), entry)
	}
	return nil
}

func (w *qcow2Writer) setEntry(cluster int64, entry uint64) {
	table := int(cluster / qcow2L2Entries)
	for len(w.l2) <= table {
		w.l2 = append(w.l2, nil)
	}
	if w.l2[table] == nil {
		w.l2[table] = make([]uint64, qcow2L2Entries)
	}
	w.l2[table][cluster%qcow2L2Entries] = entry
}

// allocate returns where the next n clusters of the file are, with a reference each.
func (w *qcow2Writer) allocate(n int64) int64 {
	at := w.next
	w.next += n * qcow2Cluster
	for c := at; c < w.next; c += qcow2Cluster {
		w.refer(c)
	}
	return at
}

// refer counts one reference to the cluster of the file that has the byte at.
func (w *qcow2Writer) refer(at int64) {
	number := int(at / qcow2Cluster)
	for len(w.refs) <= number {
		w.refs = append(w.refs, 0)
	}
	w.refs[number]++
}

func (w *qcow2Writer) placeWhole(data []byte) (entry uint64, err error) {
	at := w.allocate(1)
	return uint64(at) | qcow2Copied, w.write(data, at)
}

// placePacked puts a compressed cluster behind the last one, if there is room for
// it: in the rest of that cluster of the file, or if that is the file's last one,
// there and in the next.
func (w *qcow2Writer) placePacked(data []byte) (entry uint64, err error) {
	last := w.packedAt+qcow2Cluster == w.next
	if w.packedAt == 0 || len(w.packed)+len(data) > qcow2Cluster && !last {
		if err := w.flush(); err != nil {
			return 0, err
		}
		w.packedAt = w.next
		w.next += qcow2Cluster
	}
	at := w.packedAt + int64(len(w.packed))
	end := at + int64(len(data))
	entry = uint64(at) | uint64((end-1)/qcow2Sector-at/qcow2Sector)<<qcow2LengthShift | qcow2Compressed
	for c := at / qcow2Cluster; c <= (end-1)/qcow2Cluster; c++ {
		w.refer(c * qcow2Cluster)
	}
	here := min(len(data), qcow2Cluster-len(w.packed))
	w.packed = append(w.packed, data[:here]...)
	if here < len(data) {
		if err := w.flush(); err != nil {
			return 0, err
		}
		w.packedAt = w.next
		w.next += qcow2Cluster
		w.packed = append(w.packed, data[here:]...)
	}
	return entry, nil
}

// flush writes the cluster of the file that has compressed ones.
func (w *qcow2Writer) flush() error {
	if w.packedAt == 0 {
		return nil
	}
	err := w.write(append(w.packed, qcow2Zeros[len(w.packed):]...), w.packedAt)
	w.packed, w.packedAt = w.packed[:0], 0
	return err
}

// qcow2Ahead is after how many bytes the kernel is told to begin writing them.
const qcow2Ahead = 8 << 20

// write has the disk work meanwhile: all of it is waited for in the end.
func (w *qcow2Writer) write(data []byte, at int64) error {
	_, err := w.out.WriteAt(data, at)
	if f, ok := w.out.(*os.File); ok && at%qcow2Ahead == 0 && at >= qcow2Ahead {
		// Where that is not known, it is only slower.
		_ = unix.SyncFileRange(int(f.Fd()), at-qcow2Ahead, qcow2Ahead, unix.SYNC_FILE_RANGE_WRITE)
	}
	return err
}

// finish writes the tables and the header.
func (w *qcow2Writer) finish() error {
	if err := w.flush(); err != nil {
		return err
	}
	entries := (w.size + qcow2Cluster*qcow2L2Entries - 1) / (qcow2Cluster * qcow2L2Entries)
	l1 := make([]uint64, entries)
	for i, table := range w.l2 {
		if table == nil {
			continue
		}
		at := w.allocate(1)
		if err := w.write(bigEndian(table), at); err != nil {
			return err
		}
		l1[i] = uint64(at) | qcow2Copied
	}
	l1At := w.allocate(clustersOf(entries * 8))
	if err := w.write(bigEndian(l1), l1At); err != nil {
		return err
	}
	w.refer(0) // the header
	blocks, table := w.countClusters()
	tableAt := w.allocate(table)
	blocksAt := w.allocate(blocks)
	counts := make([]uint64, blocks)
	for i := range counts {
		counts[i] = uint64(blocksAt) + uint64(i)*qcow2Cluster
	}
	padded := make([]uint16, blocks*qcow2BlockCounts)
	copy(padded, w.refs)
	return errors.Join(
		w.write(bigEndian(counts), tableAt),
		w.write(bigEndian(padded), blocksAt),
		w.write(w.header(len(l1), l1At, tableAt, table), 0))
}

// countClusters returns how many blocks of reference counts it takes for all
// clusters of the file, those blocks and the clusters of their table included.
func (w *qcow2Writer) countClusters() (blocks, table int64) {
	for {
		all := w.next/qcow2Cluster + blocks + table
		needBlocks := (all + qcow2BlockCounts - 1) / qcow2BlockCounts
		needTable := clustersOf(needBlocks * 8)
		if needBlocks == blocks && needTable == table {
			return blocks, table
		}
		blocks, table = needBlocks, needTable
	}
}

func clustersOf(size int64) int64 { return (size + qcow2Cluster - 1) / qcow2Cluster }

func (w *qcow2Writer) header(l1Entries int, l1At, countsAt, countsClusters int64) []byte {
	h := make([]byte, qcow2Cluster)
	be := binary.BigEndian
	copy(h, "QFI\xfb")
	be.PutUint32(h[4:], 3) // version
	be.PutUint32(h[20:], qcow2ClusterBits)
	be.PutUint64(h[24:], uint64(w.size))
	be.PutUint32(h[36:], uint32(l1Entries))
	be.PutUint64(h[40:], uint64(l1At))
	be.PutUint64(h[48:], uint64(countsAt))
	be.PutUint32(h[56:], uint32(countsClusters))
	be.PutUint64(h[72:], qcow2IncompatCompression)
	be.PutUint32(h[96:], 4) // counts have 1<<4 bits
	be.PutUint32(h[100:], qcow2HeaderSize)
	h[104] = qcow2ByZstd
	return h // zeros behind it end the list of extensions
}

// bigEndian is a table as it is in the file, whole clusters of it.
func bigEndian[T uint16 | uint64](table []T) []byte {
	width := binary.Size(T(0))
	out := make([]byte, 0, clustersOf(int64(len(table)*width))*qcow2Cluster)
	for _, v := range table {
		if width == 2 {
			out = binary.BigEndian.AppendUint16(out, uint16(v))
		} else {
			out = binary.BigEndian.AppendUint64(out, uint64(v))
		}
	}
	return out[:cap(out)]
}
