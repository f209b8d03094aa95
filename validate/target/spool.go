package target

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/klauspost/compress/zstd"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// maxSpoolBytes is how much a compressed tar may grow to on disk.
const maxSpoolBytes = 8 << 30

// openCompressedTar decompresses a tar into a file without a name and indexes
// it in the same pass. The file is in $TMPDIR, or else in /var/tmp since /tmp
// is often memory; being nameless, it vanishes whatever happens to the process.
func openCompressedTar(ctx context.Context, src io.Reader, useZstd bool) (*view, io.Closer, error) {
	dec, err := decompressor(src, useZstd)
	if err != nil {
		return nil, nil, err
	}
	defer dec.Close()
	spool, err := namelessFile()
	if err != nil {
		return nil, nil, err
	}
	tee := &spoolReader{src: dec, spool: spool}
	v, err := openTar(ctx, tee, func() int64 { return tee.n }, spool)
	if err != nil {
		spool.Close()
		return nil, nil, err
	}
	return v, spool, nil
}

func decompressor(src io.Reader, useZstd bool) (io.ReadCloser, error) {
	if !useZstd {
		z, err := gzip.NewReader(src)
		if err != nil {
			return nil, badf("gzip: %w", err)
		}
		return z, nil
	}
	z, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		return nil, badf("zstd: %w", err)
	}
	return z.IOReadCloser(), nil
}

func namelessFile() (*os.File, error) {
	dir := os.Getenv("TMPDIR")
	if dir == "" {
		dir = "/var/tmp"
	}
	f, err := os.OpenFile(dir, os.O_RDWR|oTmpfile, 0o600)
	if err == nil {
		return f, nil
	}
	// Not every file system can make a file without a name.
	f, err = os.CreateTemp(dir, ".nodeimage-tar-*")
	if err != nil {
		return nil, exitcode.Transient(fmt.Errorf("making a file to decompress the tar into (set TMPDIR to a directory with room): %w", err))
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, exitcode.Transient(fmt.Errorf("removing the name of %s: %w", filepath.Base(f.Name()), err))
	}
	return f, nil
}

// spoolReader copies to the spool what is read from src.
type spoolReader struct {
	src   io.Reader
	spool *os.File
	n     int64
}

func (s *spoolReader) Read(p []byte) (int, error) {
	n, err := s.src.Read(p)
	if s.n+int64(n) > maxSpoolBytes {
		return 0, badf("decompressed, the tar is longer than %d bytes", int64(maxSpoolBytes))
	}
	if n > 0 {
		if _, werr := s.spool.WriteAt(p[:n], s.n); werr != nil {
			if errors.Is(werr, syscall.ENOSPC) {
				werr = fmt.Errorf("no room to decompress the tar after %d bytes (set TMPDIR to a directory with room): %w", s.n, werr)
			}
			return 0, exitcode.Transient(werr)
		}
		s.n += int64(n)
	}
	var host *os.PathError
	if err != nil && !errors.Is(err, io.EOF) && !errors.As(err, &host) {
		err = badf("decompressing the tar at byte %d: %w", s.n, err)
	}
	return n, err
}
