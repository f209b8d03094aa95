package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Pulled is an image as a registry has it, with what it is made of in files.
type Pulled struct {
	Name      string // the full reference, registry.k8s.io/pause:3.10.2
	Arch      string // Go's name of the architecture
	MediaType types.MediaType
	Manifest  []byte
	Digest    string            // sha256:… of Manifest
	Blobs     map[string]string // files by digest: the configuration and the layers
}

// WritePulled packs the image as Write does an assembled one. Not a byte of
// manifest and blobs is changed, so the digests stay upstream's.
func WritePulled(ctx context.Context, p Pulled, target string) (Written, error) {
	fail := func(err error) (Written, error) {
		return Written{}, fmt.Errorf("packing the image %s: %w", p.Name, err)
	}
	ref, err := name.NewTag(p.Name, name.StrictValidation)
	if err != nil {
		return fail(err)
	}
	digest, err := v1.NewHash(p.Digest)
	if err != nil {
		return fail(err)
	}
	written := Written{Digest: p.Digest, Size: int64(len(p.Manifest))}
	blobs := []blob{memory(blobPath(digest), p.Manifest)}
	for name, file := range p.Blobs {
		hash, err := v1.NewHash(name)
		if err != nil {
			return fail(err)
		}
		info, err := os.Stat(file)
		if err != nil {
			return fail(err)
		}
		written.Size += info.Size()
		blobs = append(blobs, blob{blobPath(hash), info.Size(), func() (io.ReadCloser, error) { return os.Open(file) }})
	}
	index, err := indexOf(ref, p.Arch, v1.Descriptor{MediaType: p.MediaType, Size: int64(len(p.Manifest)), Digest: digest})
	if err != nil {
		return fail(err)
	}
	if err := writeLayout(ctx, target, index, blobs); err != nil {
		return fail(err)
	}
	return written, nil
}

// indexOf is the index.json of a layout with one image.
func indexOf(ref name.Tag, arch string, image v1.Descriptor) ([]byte, error) {
	image.Platform = &v1.Platform{OS: "linux", Architecture: arch}
	image.Annotations = map[string]string{
		// containerd takes the whole name from the first, everybody else
		// the tag from the second.
		"io.containerd.image.name":          ref.String(),
		"org.opencontainers.image.ref.name": ref.TagStr(),
	}
	return json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{image}})
}
