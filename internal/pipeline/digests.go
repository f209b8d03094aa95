package pipeline

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
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
		if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), name+".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		hash := sync.OnceValues(func() (string, error) { return fileSHA256(ctx, path) })
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
	return fileSHA256(context.Background(), path)
}

func fileSHA256(ctx context.Context, path string) (string, error) {
	sum, _, err := disk.Digest(ctx, path)
	return sum, err
}
