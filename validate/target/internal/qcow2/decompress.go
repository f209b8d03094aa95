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

// decoders lends decoders out: each costs some ten thousand bytes to make.
type decoders struct{ pool sync.Pool }

func newDecoders(useZstd bool) *decoders {
	d := &decoders{}
	d.pool.New = func() any {
		if !useZstd {
			return &deflate{flate.NewReader(bytes.NewReader(nil))}
		}
		// Concurrency 1 decodes in the caller: no goroutine outlives a read.
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return fmt.Errorf("qcow2: making a zstd decoder: %w", err)
		}
		return zstdFrame{z}
	}
	return d
}

type deflate struct{ io.ReadCloser }

func (d *deflate) reset(src io.Reader) error { return d.ReadCloser.(flate.Resetter).Reset(src, nil) }

type zstdFrame struct{ *zstd.Decoder }

func (z zstdFrame) reset(src io.Reader) error { return z.Reset(src) }

// decompress returns the content of a compressed cluster. It reads exactly one
// cluster of output and no more, so that a bomb costs what any cluster costs.
func (m *Image) decompress(loc location) ([]byte, error) {
	if b, ok := m.clusters.Get(loc.offset); ok {
		return b, nil
	}
	src := make([]byte, loc.length)
	if err := readFull(m.r, src, loc.offset, "compressed cluster"); err != nil {
		return nil, err
	}
	got := m.pool.pool.Get()
	dec, ok := got.(decoder)
	if !ok {
		return nil, got.(error)
	}
	defer m.pool.pool.Put(dec)
	out := make([]byte, 1<<m.h.clusterBits)
	err := dec.reset(bytes.NewReader(src))
	if err == nil {
		_, err = io.ReadFull(dec, out)
	}
	if err != nil {
		return nil, corrupt("compressed cluster of up to %d bytes at byte %d: %w", loc.length, loc.offset, err)
	}
	m.clusters.Put(loc.offset, out)
	return out, nil
}
