package lockbundle

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// Import puts all of a bundle into the store and returns its lock. All of it is
// read and compared with its sums before the store has any of it. A file that
// is not a whole bundle is bad input.
func Import(ctx context.Context, s *store.Store, file string) (l *lock.Lock, err error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("reading the bundle: %w", err))
	}
	defer in.Close()
	dir, release, err := s.Scratch("bundle")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	l, err = unpack(ctx, in, dir)
	if err != nil {
		err = fmt.Errorf("the bundle %s: %w", file, err)
		var own writeError
		if errors.As(err, &own) || ctx.Err() != nil {
			return nil, exitcode.Transient(err)
		}
		return nil, exitcode.BadInput(err)
	}
	blobs := map[string]string{}
	for _, deb := range l.AllPackages() {
		blobs[deb.SHA256] = filepath.Join(dir, blobsDir, deb.SHA256)
	}
	if image := l.Base.CloudImage; image.URL != "" {
		blobs[image.SHA256] = filepath.Join(dir, blobsDir, image.SHA256)
	}
	if err := s.AddBlobs(ctx, blobs); err != nil {
		return nil, err
	}
	for _, c := range l.Components {
		key, err := component.LockedKey(c)
		if err != nil {
			return nil, fmt.Errorf("component %s: %w", c.Name, err)
		}
		from := filepath.Join(dir, componentsDir, c.Name)
		if _, err := s.Do(ctx, key, func(_ context.Context, to string) error { return component.CopyEntry(from, to) }); err != nil {
			return nil, fmt.Errorf("component %s: %w", c.Name, err)
		}
	}
	return l, nil
}

// unpack writes the members of a bundle below dir, each compared with the
// index, and the index with the lock before the first of them is written.
func unpack(ctx context.Context, in io.Reader, dir string) (*lock.Lock, error) {
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	members := tar.NewReader(z)
	head, err := next(members, indexName, maxIndex)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(members, head.Size))
	if err != nil {
		return nil, damaged(indexName, err)
	}
	index, err := readIndex(text)
	if err != nil {
		return nil, err
	}
	var l *lock.Lock
	for _, f := range index.Files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		head, err := next(members, f.Path, f.Size)
		if err != nil {
			return nil, err
		}
		if head.Size != f.Size {
			return nil, fmt.Errorf("%s has %d bytes, %s says %d", f.Path, head.Size, indexName, f.Size)
		}
		if f.Path == lockName {
			if l, err = readLock(members, f); err != nil {
				return nil, err
			}
			// From here on every path is one that the lock leads to.
			if err := index.check(l); err != nil {
				return nil, err
			}
			continue
		}
		mode := os.FileMode(0o644)
		if head.Mode&0o111 != 0 {
			mode = 0o755
		}
		if err := save(members, f, mode, filepath.Join(dir, filepath.FromSlash(f.Path))); err != nil {
			return nil, err
		}
	}
	switch head, err := members.Next(); {
	case err == nil:
		return nil, fmt.Errorf("%q comes after all that %s lists", head.Name, indexName)
	case !errors.Is(err, io.EOF):
		return nil, damaged("its end", err)
	}
	return l, nil
}

// next goes to the member that must come now.
func next(members *tar.Reader, name string, limit int64) (*tar.Header, error) {
	head, err := members.Next()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("it ends before %s: get it again", name)
	}
	if err != nil {
		return nil, damaged(name, err)
	}
	if head.Name != name || head.Typeflag != tar.TypeReg {
		return nil, fmt.Errorf("found %q, a member of type %q: expected the file %s: it is no bundle of nodeimage, or was changed", head.Name, head.Typeflag, name)
	}
	if head.Size > limit {
		return nil, fmt.Errorf("%s has %d bytes: expected %d at most", name, head.Size, limit)
	}
	return head, nil
}

func damaged(where string, err error) error {
	return fmt.Errorf("it is damaged at %s, or no bundle at all: %w: get it again", where, err)
}

func readLock(in io.Reader, f File) (*lock.Lock, error) {
	text, err := io.ReadAll(io.LimitReader(in, f.Size))
	if err != nil {
		return nil, damaged(f.Path, err)
	}
	if err := compare(f, sha256.Sum256(text)); err != nil {
		return nil, err
	}
	return lock.Parse(lockName, text)
}

func save(in io.Reader, f File, mode os.FileMode, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return writeError{err}
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return writeError{err}
	}
	hash := sha256.New()
	read := &reader{in: in}
	_, err = io.Copy(io.MultiWriter(out, hash), read)
	if read.err != nil {
		return errors.Join(damaged(f.Path, read.err), out.Close())
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return writeError{fmt.Errorf("unpacking %s: %w", f.Path, err)}
	}
	return compare(f, [sha256.Size]byte(hash.Sum(nil)))
}

// writeError is a failure of this host, not of the bundle.
type writeError struct{ error }

func (e writeError) Unwrap() error { return e.error }

// reader remembers whether it was reading that failed, and not writing.
type reader struct {
	in  io.Reader
	err error
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

func compare(f File, sum [sha256.Size]byte) error {
	if got := hex.EncodeToString(sum[:]); got != f.SHA256 {
		return fmt.Errorf("%s has sha256 %s, %s says %s: get the bundle again", f.Path, got, indexName, f.SHA256)
	}
	return nil
}
