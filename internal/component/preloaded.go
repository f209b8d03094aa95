package component

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/memory"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/preload"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
)

// PreloadedTar is what a preloaded store is in this program's store.
const PreloadedTar = "containerd.tar.zst"

// Preloaded implements Resolver.
func (m *Maker) Preloaded(ctx context.Context) (string, error) {
	_, _, key, err := m.preload(ctx)
	if err != nil || key == "" {
		return "", err
	}
	dir, ok := m.store.Lookup(key)
	if !ok {
		return "", nil
	}
	return filepath.Join(dir, PreloadedTar), nil
}

// Preload makes what Preloaded returns, unless it is in the store. The profile's
// own containerd does it, on this host: an import takes as long as half of the
// provisioners do together, and depends on nothing that they change. Without
// root, memory for the images and a
// containerd that is no package of the image there is nothing that it could do,
// and it does nothing.
func (m *Maker) Preload(ctx context.Context) error {
	packer, images, key, err := m.preload(ctx)
	if err != nil || key == "" || os.Geteuid() != 0 {
		return err
	}
	if packer.Size = memory.Room(); packer.Size == 0 {
		return nil
	}
	if _, err := m.store.Do(ctx, key, func(ctx context.Context, dir string) error {
		return m.pack(ctx, packer, images, dir)
	}); err != nil {
		return fmt.Errorf("importing the container images ahead: %w", err)
	}
	return nil
}

// preload returns what imports which images, and the key of the result; that is
// empty where this host cannot import them.
func (m *Maker) preload(ctx context.Context) (packer preload.Packer, images []preload.Image, key string, err error) {
	if _, ok := m.sources["containerd"]; !ok {
		return packer, nil, "", nil
	}
	runtime, err := m.Component(ctx, "containerd")
	if err != nil {
		return packer, nil, "", err
	}
	daemon, hasDaemon := runtime.File("containerd")
	client, hasClient := runtime.File("ctr")
	if !hasDaemon || !hasClient {
		return packer, nil, "", nil
	}
	packer = preload.Packer{Host: m.runner, Programs: filepath.Dir(daemon.Path)}
	all, err := m.Images(ctx)
	if err != nil {
		return packer, nil, "", err
	}
	parts := []any{"preloaded", packer.Version(), daemon.SHA256, client.SHA256}
	for _, image := range all {
		parts = append(parts, image.Name, image.Digest)
		images = append(images, preload.Image{Name: image.Name, Digest: image.Digest, Tar: image.Path})
	}
	key, err = store.Key(parts...)
	return packer, images, key, err
}

// pack fills a directory of the store. The compression is the quickest there is:
// two thirds of the content are packed layers and what they unpack to.
func (m *Maker) pack(ctx context.Context, packer preload.Packer, images []preload.Image, dir string) (err error) {
	start := time.Now()
	packer.Stage = filepath.Join(dir, ".stage")
	if err := os.Mkdir(packer.Stage, 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(dir, PreloadedTar), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w, err := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	if err := errors.Join(packer.Pack(ctx, images, w), w.Close()); err != nil {
		return err
	}
	m.logf("%d container images: imported ahead in %s", len(images), time.Since(start).Round(100*time.Millisecond))
	return os.RemoveAll(packer.Stage)
}
