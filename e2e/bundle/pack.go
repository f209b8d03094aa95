// Package bundle packs what a run of the suite left as one archive that can be
// handed to somebody else, without secrets, and reads such an archive again.
package bundle

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// File is the name of the archive in the suite's output directory.
const File = "bundle.tar.zst"

// maxPacked bounds what is packed of one file, in bytes: its end is kept,
// where a log says what happened last.
const maxPacked = 32 << 20

// prefix is the directory in the archive.
const prefix = "bundle/"

// Pack writes the regular files below dir as one archive to out, secrets
// redacted. Of a file that is too long the end is kept. out appears whole or
// not at all, readable by its owner alone: no list of secrets is complete.
func Pack(dir, out string) error {
	if err := pack(dir, out); err != nil {
		return exitcode.Transient(fmt.Errorf("packing %s as %s: %w", dir, out, err))
	}
	return nil
}

func pack(dir, out string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	pending, err := renameio.NewPendingFile(out, renameio.WithPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pending.Cleanup()) }()
	z, err := zstd.NewWriter(pending, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !d.Type().IsRegular(), strings.HasPrefix(path.Base(name), "bundle."), filepath.Join(dir, name) == filepath.Clean(out),
			strings.HasPrefix(path.Base(name), ".bundle."):
			return nil
		}
		return add(w, root, name)
	})
	if err := errors.Join(err, w.Close(), z.Close()); err != nil {
		return err
	}
	return pending.CloseAtomicallyReplace()
}

func add(w *tar.Writer, root *os.Root, name string) (err error) {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	from := max(0, fi.Size()-maxPacked)
	text, err := io.ReadAll(io.NewSectionReader(f, from, maxPacked))
	if err != nil {
		return err
	}
	if from > 0 {
		text = append(fmt.Appendf(nil, "[%d bytes before this were left out]\n", from), text...)
	}
	text = Redact(text)
	header := &tar.Header{Name: prefix + name, Mode: 0o600, Size: int64(len(text)), ModTime: fi.ModTime().Truncate(time.Second), Typeflag: tar.TypeReg}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}
