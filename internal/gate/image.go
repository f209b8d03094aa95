package gate

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// image is an open image. Everything is read from the one descriptor, so that
// what is judged is what is copied, whatever the path leads to by then.
type image struct {
	path   string
	file   *os.File
	sha256 string
}

// openImage opens an image and computes its digest. Errors about what lies at
// the path are bad input.
func openImage(ctx context.Context, path string) (img *image, err error) {
	// O_NONBLOCK: opening a pipe would wait for its other end.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("opening the image: %w", err))
	}
	defer func() {
		if err != nil {
			_ = f.Close() // only read
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("opening the image: %w", err))
	}
	if !info.Mode().IsRegular() {
		return nil, exitcode.BadInput(fmt.Errorf("image %s is a %s: expected a regular file", path, info.Mode().Type()))
	}
	if err := self(f); err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("image %s: %w", path, err))
	}
	sum, err := digest(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("computing the digest of %s: %w", path, err)
	}
	return &image{path, f, sum}, nil
}

func (i *image) close() { _ = i.file.Close() } // only read

// self makes sure that the file is all of the image: a qcow2 with a backing or
// an external data file is not, and its digest says nothing about the rest
// (qemu's docs/interop/qcow2.txt).
func self(r io.ReaderAt) error {
	var head [104]byte
	if _, err := r.ReadAt(head[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if string(head[:4]) != "QFI\xfb" {
		return nil
	}
	const externalData = 1 << 2
	if binary.BigEndian.Uint64(head[8:]) != 0 {
		return errors.New("it has a backing file, so its digest does not cover its content: flatten it with qemu-img convert")
	}
	if binary.BigEndian.Uint32(head[4:]) >= 3 && binary.BigEndian.Uint64(head[72:])&externalData != 0 {
		return errors.New("it has an external data file, so its digest does not cover its content: flatten it with qemu-img convert")
	}
	return nil
}

// digest is the SHA-256 of a file from its beginning, in hexadecimal.
func digest(ctx context.Context, r io.ReaderAt) (string, error) {
	sum := sha256.New()
	if err := stream(ctx, sum, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// stream copies a file from its beginning, until ctx ends.
func stream(ctx context.Context, w io.Writer, r io.ReaderAt) error {
	buffer := make([]byte, 1<<20)
	for offset := int64(0); ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := r.ReadAt(buffer, offset)
		if _, err := w.Write(buffer[:n]); err != nil {
			return err
		}
		offset += int64(n)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
