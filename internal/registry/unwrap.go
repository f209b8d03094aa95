package registry

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
)

// maxEntries bounds the entries of a containerDisk's layer; ours has two.
const maxEntries = 64

// unwrap takes the disk called name out of the layer of a containerDisk and
// returns its sha256. Errors are about what is in the layer.
func unwrap(ctx context.Context, layer, target, name string) (sum string, err error) {
	f, err := os.Open(layer)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	tr := tar.NewReader(f)
	for range maxEntries {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return "", fmt.Errorf("its layer has no %s%s", diskDir, name)
		}
		if err != nil {
			return "", fmt.Errorf("reading its layer: %w", err)
		}
		if path.Clean(h.Name) == diskDir+name && h.Typeflag == tar.TypeReg {
			if h.Size > info.Size() { // a sparse entry may claim any size
				return "", fmt.Errorf("its layer of %d bytes has a disk of %d", info.Size(), h.Size)
			}
			return extract(ctx, tr, target)
		}
	}
	return "", fmt.Errorf("its layer has more than %d entries and no %s%s among them", maxEntries, diskDir, name)
}

func extract(ctx context.Context, r io.Reader, target string) (sum string, err error) {
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(out, hash), reader{ctx, r}); err != nil {
		return "", fmt.Errorf("reading its disk: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// reader ends when its context does.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}
