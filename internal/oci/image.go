package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Written is what an image became.
type Written struct {
	Digest string // sha256:… of the image manifest
	Size   int64  // bytes of the manifest, the configuration and the layer
}

// Write assembles the image and writes it to the file target as a tar of an
// OCI image layout, which `ctr images import` reads under the spec's name. It
// needs as much space again beside target while it works.
func Write(ctx context.Context, spec Spec, target string) (w Written, err error) {
	fail := func(err error) (Written, error) {
		return Written{}, fmt.Errorf("assembling the image %s: %w", spec.Name, err)
	}
	ref, err := name.NewTag(spec.Name, name.StrictValidation)
	if err != nil {
		return fail(err)
	}
	layerFile := target + ".layer"
	defer func() {
		if rmErr := os.Remove(layerFile); rmErr != nil && !errors.Is(rmErr, os.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}()
	l, err := writeLayer(ctx, layerFile, spec.Entries)
	if err != nil {
		return fail(err)
	}
	img, err := spec.image(l)
	if err != nil {
		return fail(err)
	}
	if w, err = pack(ctx, img, l, ref, spec, target); err != nil {
		return fail(err)
	}
	return w, nil
}

// image is the layer with the spec's configuration.
func (spec Spec) image(l layer) (v1.Image, error) {
	epoch := v1.Time{Time: time.Unix(0, 0).UTC()}
	config := v1.Config{
		Entrypoint: spec.Entrypoint,
		Env:        spec.Env,
		User:       spec.User,
		WorkingDir: spec.WorkingDir,
	}
	for _, port := range spec.Ports {
		if config.ExposedPorts == nil {
			config.ExposedPorts = map[string]struct{}{}
		}
		config.ExposedPorts[port] = struct{}{}
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(base, &v1.ConfigFile{
		Architecture: spec.Arch,
		OS:           "linux",
		Created:      epoch,
		Config:       config,
		RootFS:       v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(img, mutate.Addendum{
		Layer:   l,
		History: v1.History{Created: epoch, CreatedBy: "nodeimage"},
	})
}

// pack writes the layout: the marker, the index, and the three blobs.
func pack(ctx context.Context, img v1.Image, l layer, ref name.Tag, spec Spec, target string) (Written, error) {
	manifest, err := img.RawManifest()
	if err != nil {
		return Written{}, err
	}
	digest, err := img.Digest()
	if err != nil {
		return Written{}, err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return Written{}, err
	}
	configDigest, err := img.ConfigName()
	if err != nil {
		return Written{}, err
	}
	index, err := indexOf(ref, spec.Arch, v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: int64(len(manifest)), Digest: digest})
	if err != nil {
		return Written{}, err
	}
	err = writeLayout(ctx, target, index, []blob{
		memory(blobPath(digest), manifest), memory(blobPath(configDigest), config), {blobPath(l.digest), l.size, l.Compressed},
	})
	if err != nil {
		return Written{}, err
	}
	return Written{Digest: digest.String(), Size: int64(len(manifest)) + int64(len(config)) + l.size}, nil
}

func blobPath(h v1.Hash) string {
	return strings.Join([]string{"blobs", h.Algorithm, h.Hex}, "/")
}
