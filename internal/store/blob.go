package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// blobsDir holds single files under their own sums: blobs/<2 digits>/<sha256>.
// They are not flushed to disk: whoever uses one compares it with its sum, and
// what a crash cut short is then not there.
const blobsDir = "blobs"

// blobsUse is what blobs are held by, all together.
const blobsUse = "blobs"

func (s *Store) blobPath(sum string) string {
	return filepath.Join(s.dir, blobsDir, sum[:2], sum)
}

// Blob returns the path of the file with that sha256 after reading all of it,
// and whether there is one. A file with another content counts as missing. While
// this process lives, GC leaves blobs alone.
func (s *Store) Blob(sum string) (path string, ok bool) {
	if checkKey(sum) != nil || s.hold(blobsUse) != nil {
		return "", false
	}
	path = s.blobPath(sum)
	got, _, err := hashFile(path)
	return path, err == nil && got == sum
}

// AddBlobs copies files, by their sha256, into the store. It fails on a file
// that has another sum, before any of it can be seen.
func (s *Store) AddBlobs(ctx context.Context, files map[string]string) (err error) {
	if err := s.hold(blobsUse); err != nil {
		return explain(s.dir, err)
	}
	scratch, release, err := s.Scratch("blobs")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	for sum, from := range files {
		if err := checkKey(sum); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, ok := s.Blob(sum); ok {
			continue
		}
		if err := s.addBlob(filepath.Join(scratch, sum), sum, from); err != nil {
			return explain(s.dir, fmt.Errorf("keeping %s in the store: %w", filepath.Base(from), err))
		}
	}
	return nil
}

func (s *Store) addBlob(partial, sum, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, hash), in)
	if err := errors.Join(err, out.Chmod(0o444), out.Close()); err != nil {
		return err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != sum {
		return fmt.Errorf("it has sha256 %s, expected %s", got, sum)
	}
	to := s.blobPath(sum)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.Rename(partial, to)
}

// CopyFile makes a second name of a file, or a copy on another file system.
func CopyFile(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// hashFile returns the sum and the size of a regular file.
func hashFile(path string) (sum string, size int64, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", 0, err
	}
	if !info.Mode().IsRegular() {
		return "", 0, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := describe(path, info.Mode(), false)
	return f.SHA256, f.Size, err
}
