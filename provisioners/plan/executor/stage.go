package executor

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/interrupt"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

// smallFile is the size up to which files travel together in one tar. Larger
// ones are uploaded each on its own.
const smallFile = 1 << 20

// upload is one file on its way to the machine, under a name in the stage.
type upload struct {
	name   string
	file   plan.File
	size   int64
	sha256 string
}

func newUpload(name string, f plan.File) (upload, error) {
	if f.Source == "" {
		sum := sha256.Sum256([]byte(f.Content))
		return upload{name: name, file: f, size: int64(len(f.Content)), sha256: hex.EncodeToString(sum[:])}, nil
	}
	info, err := os.Stat(f.Source)
	if err != nil {
		return upload{}, fmt.Errorf("%s: %w", f.Component, err)
	}
	if !info.Mode().IsRegular() {
		return upload{}, fmt.Errorf("%s: %s is not a regular file", f.Component, f.Source)
	}
	u := upload{name: name, file: f, size: info.Size(), sha256: f.SHA256}
	if u.sha256 == "" {
		u.sha256, err = sum(f.Source)
	}
	return u, err
}

func sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// stage is a directory on the machine that holds files before they are moved
// to their places. It belongs to the login, since that is who uploads.
type stage struct {
	target *Target
	dir    string
}

// newStage makes the stage under /var/tmp: on the root file system, so that a
// file is mostly renamed and not copied again, and never a small tmpfs.
func (t *Target) newStage(ctx context.Context) (*stage, error) {
	res, err := t.shell(ctx, "umask 077; mktemp -d /var/tmp/nodeimage.XXXXXXXXXX", run.Cmd{})
	if err != nil {
		return nil, fmt.Errorf("making a directory for uploads: %w", err)
	}
	dir := strings.TrimSpace(res.Stdout)
	if path.Dir(dir) != "/var/tmp" || path.Clean(dir) != dir {
		return nil, fmt.Errorf("making a directory for uploads: the machine answered %q", dir)
	}
	return &stage{target: t, dir: dir}, nil
}

// remove deletes the stage, also after the context is done.
func (s *stage) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
	defer cancel()
	if _, err := s.target.rootShell(ctx, "rm -rf -- "+run.Quote([]string{s.dir}), run.Cmd{}); err != nil {
		return fmt.Errorf("removing the upload directory %s: %w", s.dir, err)
	}
	return nil
}

// send brings the files to the machine and checks there that they arrived whole.
func (s *stage) send(ctx context.Context, uploads []upload) error {
	var bundle []upload
	var total int64
	for _, u := range uploads {
		total += u.size
	}
	if total > 16*smallFile {
		s.target.progress("uploading %d files, %d MB", len(uploads), total/1e6)
	}
	for _, u := range uploads {
		if u.size <= smallFile {
			bundle = append(bundle, u)
			continue
		}
		if err := s.sendFile(ctx, u); err != nil {
			return err
		}
	}
	if len(bundle) > 0 {
		if err := s.sendBundle(ctx, bundle); err != nil {
			return err
		}
	}
	return s.verify(ctx, uploads)
}

func (s *stage) sendFile(ctx context.Context, u upload) error {
	f, err := os.Open(u.file.Source)
	if err != nil {
		return fmt.Errorf("%s: %w", u.file.Component, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("%s: %w", u.file.Component, err)
	}
	info = uploadInfo{name: u.name, size: info.Size()}
	if err := s.target.upload(ctx, path.Join(s.dir, u.name), f, info); err != nil {
		return fmt.Errorf("uploading %s: %w", u.file.Component, err)
	}
	return nil
}

func (s *stage) sendBundle(ctx context.Context, uploads []upload) error {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, u := range uploads {
		content := []byte(u.file.Content)
		if u.file.Source != "" {
			var err error
			if content, err = os.ReadFile(u.file.Source); err != nil {
				return fmt.Errorf("%s: %w", u.file.Component, err)
			}
		}
		header := &tar.Header{Name: u.name, Mode: 0o600, Size: int64(len(content)), ModTime: time.Unix(0, 0)}
		if err := errors.Join(w.WriteHeader(header), writeAll(w, content)); err != nil {
			return fmt.Errorf("bundling %s: %w", u.file.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("bundling files: %w", err)
	}
	const name = ".bundle.tar"
	info := uploadInfo{name: name, size: int64(buf.Len())}
	archive := path.Join(s.dir, name)
	if err := s.target.upload(ctx, archive, &buf, info); err != nil {
		return fmt.Errorf("uploading %d small files: %w", len(uploads), err)
	}
	script := "cd " + run.Quote([]string{s.dir}) + " && tar --no-same-owner -xf .bundle.tar && rm .bundle.tar"
	if _, err := s.target.rootShell(ctx, script, run.Cmd{}); err != nil {
		return fmt.Errorf("unpacking %d small files on the machine: %w", len(uploads), err)
	}
	return nil
}

func writeAll(w io.Writer, p []byte) error {
	_, err := w.Write(p)
	return err
}

// verify has the machine check every sum, so that neither a cut upload nor a
// source that changed under us gets into its place.
func (s *stage) verify(ctx context.Context, uploads []upload) error {
	var list strings.Builder
	for _, u := range uploads {
		fmt.Fprintf(&list, "%s  %s\n", u.sha256, u.name)
	}
	script := "cd " + run.Quote([]string{s.dir}) + " && sha256sum --strict --quiet -c -"
	if _, err := s.target.rootShell(ctx, script, run.Cmd{Stdin: strings.NewReader(list.String())}); err != nil {
		return exitcode.Transient(fmt.Errorf("uploaded files are not what was sent: %w", err))
	}
	return nil
}

// upload runs the communicator's Upload, which knows no context. Cancellation
// ends it at the next read.
func (t *Target) upload(ctx context.Context, dst string, r io.Reader, info os.FileInfo) error {
	if err := t.comm.Upload(dst, interrupt.Reader(ctx, r), &info); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return exitcode.Transient(err)
	}
	return ctx.Err()
}

// uploadInfo keeps what waits in the stage private, whatever its mode will be.
type uploadInfo struct {
	name string
	size int64
}

func (i uploadInfo) Name() string       { return i.name }
func (i uploadInfo) Size() int64        { return i.size }
func (i uploadInfo) Mode() fs.FileMode  { return 0o600 }
func (i uploadInfo) ModTime() time.Time { return time.Unix(0, 0) }
func (i uploadInfo) IsDir() bool        { return false }
func (i uploadInfo) Sys() any           { return nil }
