package cloudimage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// The formats of images.
const (
	formatQCOW2 = "qcow2"
	formatRaw   = "raw"
	formatVHD   = "vhd"
)

// packed are what images are wrapped in, and are refused by name.
var packed = []struct{ magic, name string }{
	{"\x1f\x8b", "compressed with gzip"},
	{"\xfd7zXZ\x00", "compressed with xz"},
	{"\x28\xb5\x2f\xfd", "compressed with zstd"},
	{"BZh", "compressed with bzip2"},
	{"PK\x03\x04", "a zip archive"},
	{"KDMV", "a VMware disk (VMDK)"},
	{"vhdxfile", "a Hyper-V disk of the newer kind (VHDX)"},
	{"<", "a text, as of a web page"},
}

// format tells by its content how a disk of size bytes lies in r.
func format(r io.ReaderAt, size int64) (string, error) {
	head := make([]byte, min(size, 512))
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if len(head) < 512 {
		return "", fmt.Errorf("found a file of %d bytes", size)
	}
	if string(head[:4]) == "QFI\xfb" {
		// What is in another file is not covered by the sum of this one.
		if binary.BigEndian.Uint64(head[8:]) != 0 {
			return "", errors.New("found a qcow2 with a backing file, which is only a part of an image")
		}
		return formatQCOW2, nil
	}
	// A fixed VHD is a raw disk before its footer; a dynamic one has a copy of
	// the footer in front.
	footer := make([]byte, 512)
	if _, err := r.ReadAt(footer, size-512); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if string(footer[:8]) == "conectix" {
		return formatVHD, nil
	}
	if string(head[:8]) == "conectix" {
		return "", errors.New("found a VHD that is cut short: its footer is missing")
	}
	for _, p := range packed {
		if string(head[:len(p.magic)]) == p.magic {
			return "", fmt.Errorf("found a file that is %s", p.name)
		}
	}
	return formatRaw, nil
}

// Open opens the image at path: qcow2, raw or VHD, the last of which is made a
// raw disk in the directory scratch first. name is the image's, for errors.
//
// What is no disk with a GUID partition table and an ext4 root is bad input.
func Open(ctx context.Context, host run.Runner, path, scratch, name string) (*target.Target, error) {
	refuse := func(err error) error {
		return exitcode.With(exitcode.Of(err), fmt.Errorf("the cloud image %s: %w: expected a qcow2, raw or VHD image with a GUID partition table and an ext4 root that is no part of LVM, as Ubuntu and Debian make them: name such a one in base.cloudImage", name, err))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	kind, err := format(f, info.Size())
	if err != nil {
		return nil, refuse(exitcode.BadInput(err))
	}
	if kind == formatVHD {
		raw := filepath.Join(scratch, "base.raw")
		if _, err := host.Run(ctx, run.Cmd{Argv: []string{"qemu-img", "convert", "-f", "vpc", "-O", "raw", path, raw}}); err != nil {
			return nil, refuse(exitcode.BadInput(fmt.Errorf("reading the VHD: %w", err)))
		}
		path = raw
	}
	t, err := target.Open(ctx, path)
	if err != nil {
		// The path is the store's and says nothing.
		if inner := errors.Unwrap(err); inner != nil {
			err = exitcode.With(exitcode.Of(err), inner)
		}
		return nil, refuse(err)
	}
	if t.RootPartition() == 0 {
		return nil, errors.Join(refuse(exitcode.BadInput(errors.New("found a file system without a disk around it"))), t.Close())
	}
	return t, nil
}
