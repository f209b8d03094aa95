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

// Preloaded implements Resolver. What is not in the store yet is made by the
// profile's own containerd, on this host: an import takes as long as half of the
// provisioners do together, and depends on nothing that they change. That needs
// root, memory for the images, a host of the profile's architecture and a
// containerd that is no package of the image.
func (m *Maker) Preloaded(ctx context.Context) (string, error) {
	if m.profile.OS.Arch != hostArch() || os.Geteuid() != 0 {
		return "", nil
	}
	if _, ok := m.sources["containerd"]; !ok {
		return "", nil
	}
	runtime, err := m.Component(ctx, "containerd")
	if err != nil {
		return "", err
	}
	daemon, hasDaemon := runtime.File("containerd")
	client, hasClient := runtime.File("ctr")
	if !hasDaemon || !hasClient {
		return "", nil
	}
	images, err := m.Images(ctx)
	if err != nil {
		return "", err
	}
	packer := preload.Packer{Host: m.runner, Programs: filepath.Dir(daemon.Path), Size: memory.Room()}
	parts := []any{"preloaded", packer.Version(), daemon.SHA256, client.SHA256}
	var list []preload.Image
	for _, image := range images {
		parts = append(parts, image.Name, image.Digest)
		list = append(list, preload.Image{Name: image.Name, Digest: image.Digest, Tar: image.Path})
	}
	key, err := store.Key(parts...)
	if err != nil {
		return "", err
	}
	dir, ok := m.store.Lookup(key)
	if !ok {
		if packer.Size == 0 {
			return "", nil
		}
		dir, err = m.store.Do(ctx, key, func(ctx context.Context, dir string) error {
			return m.pack(ctx, packer, list, dir)
		})
	}
	if err != nil {
		return "", fmt.Errorf("importing the container images ahead: %w", err)
	}
	return filepath.Join(dir, PreloadedTar), nil
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
