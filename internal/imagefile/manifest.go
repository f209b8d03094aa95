package imagefile

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
)

// MaxManifest bounds an image's manifest, in bytes.
const MaxManifest = 16 << 20

// Manifest reads the manifest beside the image, nil if there is none. One that
// describes another image is refused.
func (i *Image) Manifest() (text []byte, m manifest.Manifest, err error) {
	path := manifest.PathOf(i.Path)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, m, nil
	}
	if err != nil {
		return nil, m, fmt.Errorf("reading the manifest: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > MaxManifest {
		return nil, m, fmt.Errorf("manifest %s: expected a regular file of at most %d MiB", path, MaxManifest>>20)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, m, fmt.Errorf("reading the manifest: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	if text, err = io.ReadAll(io.LimitReader(f, MaxManifest)); err != nil {
		return nil, m, fmt.Errorf("reading the manifest: %w", err)
	}
	if err := attest.ReadManifest(text, i.SHA256, &m); err != nil {
		return nil, m, fmt.Errorf("manifest %s: %w", path, err)
	}
	return text, m, nil
}
