package target

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/target/internal/qcow2"
)

const (
	maxBackingDepth = 16
	// verifyBytes is how much of the L2 tables is looked at when an image is
	// opened; at 64 KiB a cluster that covers 32 GiB.
	verifyBytes = 4 << 20
)

// openQcow2 opens an image and what it is based on. A backing file is looked
// for in the folder of the image and nowhere else: its name is part of the
// image, and an image from anywhere must not name /etc/shadow, or a server.
func (t *Target) openQcow2(f io.ReaderAt, size int64, dir string, depth int) (*qcow2.Image, error) {
	img, err := qcow2.Open(f, size)
	if err != nil {
		return nil, err
	}
	if err := img.Verify(verifyBytes); err != nil {
		return nil, err
	}
	name, format := img.Backing()
	if name == "" {
		return img, nil
	}
	t.backed = true
	if depth == maxBackingDepth {
		return nil, badf("qcow2: more than %d backing files behind each other, or a loop of them", maxBackingDepth)
	}
	bf, bsize, err := t.openBacking(name, dir)
	if err != nil {
		return nil, err
	}
	if format == "" {
		// Old images don't say. Inside one folder, looking is harmless.
		var b [4]byte
		if _, err := bf.ReadAt(b[:], 0); err == nil && qcow2.Is(b[:]) {
			format = "qcow2"
		} else {
			format = "raw"
		}
	}
	switch format {
	case "raw":
		img.SetBacking(bf, bsize)
	case "qcow2":
		base, err := t.openQcow2(bf, bsize, dir, depth+1)
		if err != nil {
			return nil, fmt.Errorf("backing file %q: %w", name, err)
		}
		img.SetBacking(base, base.Size())
	default:
		return nil, badf("qcow2: backing file %q is of format %q, want raw or qcow2: flatten the image with qemu-img convert -O qcow2", name, format)
	}
	return img, nil
}

func (t *Target) openBacking(name, dir string) (*os.File, int64, error) {
	base := strings.TrimPrefix(name, "file:")
	if filepath.IsAbs(base) {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, 0, err
		}
		if filepath.Dir(base) == abs {
			base = filepath.Base(base)
		}
	}
	base = strings.TrimPrefix(base, "./")
	if base == "" || base == "." || base == ".." || strings.ContainsAny(base, "/:\x00") {
		return nil, 0, badf("qcow2: backing file %q is not in the image's folder: copy it there, or flatten the image with qemu-img convert -O qcow2", name)
	}
	root, err := os.OpenRoot(dir) // a link out of the folder is refused
	if err != nil {
		return nil, 0, hostError(err)
	}
	defer root.Close()
	fi, err := root.Stat(base)
	if err != nil {
		return nil, 0, badf("qcow2: backing file %q: %w", name, err)
	}
	if !fi.Mode().IsRegular() {
		return nil, 0, badf("qcow2: backing file %q is a %s, want a regular file", name, kindName(fi.Mode()))
	}
	f, err := root.OpenFile(base, os.O_RDONLY|oNonblock, 0)
	if err != nil {
		return nil, 0, badf("qcow2: backing file %q: %w", name, err)
	}
	t.closers = append(t.closers, f)
	return f, fi.Size(), nil
}
