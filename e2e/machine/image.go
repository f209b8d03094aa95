package machine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/interrupt"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// Digest returns the SHA-256 of a file in lower-case hexadecimal, as the
// manifest beside an image has it.
func Digest(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("computing the image's digest: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	sum := sha256.New()
	if _, err := io.Copy(sum, interrupt.Reader(ctx, f)); err != nil {
		return "", fmt.Errorf("computing the digest of %s: %w", path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// image is what QEMU has to know of an image file. The format is never left
// to QEMU's guess: a guest that writes a qcow2 header to a raw disk could
// otherwise name a file of the host as its backing file (CVE-2008-2004).
type image struct {
	path   string // absolute
	format string // qcow2 or raw
	size   int64  // of the disk, in bytes
}

const (
	qcow2Magic      = "QFI\xfb"
	qcow2HeaderSize = 104
	sectorSize      = 512
)

// inspectImage tells an image's format and size. Whatever is no image, or not
// all of one, is bad input.
func inspectImage(path string) (image, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return image{}, exitcode.BadInput(fmt.Errorf("image %s: %w", path, err))
	}
	f, err := os.Open(abs)
	if err != nil {
		return image{}, exitcode.BadInput(fmt.Errorf("opening the image: %w", err))
	}
	defer func() { _ = f.Close() }() // only read
	img, err := inspect(f)
	if err != nil {
		return image{}, exitcode.BadInput(fmt.Errorf("image %s: %w", path, err))
	}
	img.path = abs
	return img, nil
}

func inspect(f *os.File) (image, error) {
	info, err := f.Stat()
	if err != nil {
		return image{}, err
	}
	if !info.Mode().IsRegular() {
		return image{}, fmt.Errorf("it is a %s: expected a regular file", info.Mode().Type())
	}
	head := make([]byte, sectorSize)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return image{}, err
	}
	if n >= qcow2HeaderSize && string(head[:4]) == qcow2Magic {
		return inspectQcow2(head)
	}
	// A raw disk that a BIOS or a GPT can start from ends its first sector so;
	// an archive or a file system does not.
	if n < sectorSize || head[510] != 0x55 || head[511] != 0xaa {
		return image{}, errors.New("it is neither qcow2 nor a raw disk with a partition table: expected the bootable disk that a build makes")
	}
	if info.Size()%sectorSize != 0 {
		return image{}, fmt.Errorf("%d bytes are no whole number of sectors: it seems cut off", info.Size())
	}
	return image{format: "raw", size: info.Size()}, nil
}

// inspectQcow2 reads the header fields that QEMU's documentation of the format
// gives (docs/interop/qcow2.txt).
func inspectQcow2(head []byte) (image, error) {
	version := binary.BigEndian.Uint32(head[4:])
	if version != 2 && version != 3 {
		return image{}, fmt.Errorf("qcow2 version %d: expected 2 or 3", version)
	}
	if binary.BigEndian.Uint64(head[8:]) != 0 {
		return image{}, errors.New("it has a backing file, so its digest does not cover its content: flatten it with qemu-img convert")
	}
	const externalData = 1 << 2
	if version == 3 && binary.BigEndian.Uint64(head[72:])&externalData != 0 {
		return image{}, errors.New("it has an external data file, so its digest does not cover its content: flatten it with qemu-img convert")
	}
	size := binary.BigEndian.Uint64(head[24:])
	if size == 0 || size > 1<<62 {
		return image{}, fmt.Errorf("qcow2 disk size %d: the header is damaged", size)
	}
	return image{format: "qcow2", size: int64(size)}, nil
}

// overlay makes a disk at path that begins as the image and takes all writes.
func (i image) overlay(ctx context.Context, qemuImg, path string, size int64) error {
	if size == 0 {
		size = i.size
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err := run.Host{}.Run(ctx, run.Cmd{Argv: []string{
		qemuImg, "create", "-q", "-f", "qcow2", "-F", i.format, "-b", i.path, path, strconv.FormatInt(size, 10),
	}})
	if err != nil {
		return fmt.Errorf("making the overlay: %w", err)
	}
	return nil
}
