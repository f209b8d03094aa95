// Package imagefile opens an image's file once, so that what is judged is what
// is copied or published, whatever its path leads to by then.
package imagefile

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

// Image is an open image file and the digest that it had when it was opened.
type Image struct {
	Path string
	// SHA256 of the file, in hexadecimal.
	SHA256 string
	Format Format
	Size   int64 // bytes
	file   *os.File
}

// Format is how a disk lies in a file.
type Format string

// The formats of images.
const (
	QCOW2 Format = "qcow2"
	Raw   Format = "raw"
)

// qcow2Magic begins every qcow2 (qemu's docs/interop/qcow2.txt).
const qcow2Magic = "QFI\xfb"

// Open opens an image and computes its digest. Errors about what lies at the
// path are bad input.
func Open(ctx context.Context, path string) (img *Image, err error) {
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
	format, err := self(f)
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("image %s: %w", path, err))
	}
	sum, err := Digest(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("computing the digest of %s: %w", path, err)
	}
	return &Image{path, sum, format, info.Size(), f}, nil
}

// Close frees the file.
func (i *Image) Close() { _ = i.file.Close() } // only read

// ReadAt implements io.ReaderAt.
func (i *Image) ReadAt(p []byte, offset int64) (int, error) { return i.file.ReadAt(p, offset) }

// self tells the format, and makes sure that the file is all of the image: a qcow2 with a backing or
// an external data file is not, and its digest says nothing about the rest
// (qemu's docs/interop/qcow2.txt).
func self(r io.ReaderAt) (Format, error) {
	var head [104]byte
	if _, err := r.ReadAt(head[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if string(head[:4]) != qcow2Magic {
		return Raw, nil
	}
	const externalData = 1 << 2
	if binary.BigEndian.Uint64(head[8:]) != 0 {
		return "", errors.New("it has a backing file, so its digest does not cover its content: flatten it with qemu-img convert")
	}
	if binary.BigEndian.Uint32(head[4:]) >= 3 && binary.BigEndian.Uint64(head[72:])&externalData != 0 {
		return "", errors.New("it has an external data file, so its digest does not cover its content: flatten it with qemu-img convert")
	}
	return QCOW2, nil
}

// Digest is the SHA-256 of a file from its beginning, in hexadecimal.
func Digest(ctx context.Context, r io.ReaderAt) (string, error) {
	sum := sha256.New()
	if err := Stream(ctx, sum, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Stream copies a file from its beginning, until ctx ends.
func Stream(ctx context.Context, w io.Writer, r io.ReaderAt) error {
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
