package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/interrupt"
)

// digests are the sha256 of files, computed ahead: reading an image takes as
// long as finding out whether it must be built anew, and neither needs the other.
type digests struct {
	ahead map[string]func() (string, error) // by absolute path
}

// hashAhead starts to hash the regular files of dir that belong to a profile of
// that name. It ends early when ctx does.
func hashAhead(ctx context.Context, dir, name string) digests {
	d := digests{ahead: map[string]func() (string, error){}}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return d
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return d // most often there is none yet; whoever needs a file says so
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || len(e.Name()) <= len(name) || e.Name()[:len(name)+1] != name+"." {
			continue
		}
		path := filepath.Join(dir, e.Name())
		hash := sync.OnceValues(func() (string, error) { return hashFile(ctx, path) })
		d.ahead[path] = hash
		go func() { _, _ = hash() }()
	}
	return d
}

// of returns the digest of a file by its absolute path.
func (d digests) of(path string) (string, error) {
	if hash, ok := d.ahead[path]; ok {
		return hash()
	}
	return fileSHA256(path)
}

func fileSHA256(path string) (string, error) { return hashFile(context.Background(), path) }

func hashFile(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, interrupt.Reader(ctx, f), make([]byte, 1<<20)); err != nil {
		return "", fmt.Errorf("hashing %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
