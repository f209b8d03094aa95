package qcow2

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow bounds what a frame may make the decoder allocate. An encoder
// has no use for a window beyond the largest cluster (2 MiB).
const maxZstdWindow = 8 << 20

// decoder decompresses one cluster after another.
type decoder interface {
	io.Reader
	reset(src io.Reader) error
}

// worker decompresses for one reader at a time.
type worker struct {
	dec      decoder
	src, out []byte // kept from one cluster to the next
}

// workers lends workers out: making a decoder and its buffers for each cluster
// would be most of what is allocated while an image is read.
type workers struct{ pool sync.Pool }

func newWorkers(useZstd bool) *workers {
	w := &workers{}
	w.pool.New = func() any {
		if !useZstd {
			return &worker{dec: &deflate{flate.NewReader(bytes.NewReader(nil))}}
		}
		// Concurrency 1 decodes in the caller: no goroutine outlives a read.
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return fmt.Errorf("qcow2: making a zstd decoder: %w", err)
		}
		return &worker{dec: zstdFrame{z}}
	}
	return w
}

type deflate struct{ io.ReadCloser }

func (d *deflate) reset(src io.Reader) error { return d.ReadCloser.(flate.Resetter).Reset(src, nil) }

type zstdFrame struct{ *zstd.Decoder }

func (z zstdFrame) reset(src io.Reader) error { return z.Reset(src) }

// readCompressed fills p from byte in of a compressed cluster. It takes exactly
// one cluster of output and no more, so that a bomb costs what any cluster costs.
func (m *Image) readCompressed(p []byte, loc location, in int64) error {
	if _, ok := m.clusters.CopyAt(p, loc.offset, in); ok {
		return nil
	}
	got := m.workers.pool.Get()
	w, ok := got.(*worker)
	if !ok {
		return got.(error)
	}
	defer m.workers.pool.Put(w)
	if int64(cap(w.src)) < loc.length {
		w.src = make([]byte, loc.length)
	}
	src := w.src[:loc.length]
	if err := readFull(m.r, src, loc.offset, "compressed cluster"); err != nil {
		return err
	}
	if w.out == nil {
		w.out = make([]byte, 1<<m.h.clusterBits)
	}
	err := w.dec.reset(bytes.NewReader(src))
	if err == nil {
		_, err = io.ReadFull(w.dec, w.out)
	}
	if err != nil {
		return corrupt("compressed cluster of up to %d bytes at byte %d: %w", loc.length, loc.offset, err)
	}
	copy(p, w.out[in:])
	w.out = m.clusters.Exchange(loc.offset, w.out)
	return nil
}
