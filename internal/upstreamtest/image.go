package upstreamtest

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// AddImage serves a container image as a registry does, from a tar of an OCI
// image layout for each architecture, and returns the digest of the index over
// them. Beside the images the index has what docker buildx puts there: an
// entry for an unknown platform.
func (s *Server) AddImage(image string, tars map[string]string) (digest string, err error) {
	ref, err := name.NewTag(image)
	if err != nil {
		return "", err
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{{
		MediaType: types.OCIManifestSchema1, Size: 2, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)},
		Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"},
	}}}
	for _, arch := range slices.Sorted(maps.Keys(tars)) {
		descriptor, err := s.addLayout(ref, tars[arch])
		if err != nil {
			return "", fmt.Errorf("image %s: %w", image, err)
		}
		descriptor.Platform = &v1.Platform{OS: "linux", Architecture: arch}
		if arch == "arm64" {
			descriptor.Platform.Variant = "v8"
		}
		descriptor.Annotations = nil
		index.Manifests = append(index.Manifests, descriptor)
	}
	raw, err := json.Marshal(index)
	if err != nil {
		return "", err
	}
	return s.addManifest(ref, raw)
}

// ManifestAddress and BlobAddress are where an image's parts are served, for
// Misbehave and Requests.
func ManifestAddress(image, digest string) string { return partAddress(image, "manifests", digest) }

// BlobAddress is where a blob of an image is served.
func BlobAddress(image, digest string) string { return partAddress(image, "blobs", digest) }

func partAddress(image, kind, digest string) string {
	ref, err := name.NewTag(image)
	if err != nil {
		panic(err) // the caller wrote it
	}
	// A mirror for HOST is a registry whose repositories lie below HOST/.
	return "https://v2/" + path.Join(ref.RegistryStr(), ref.RepositoryStr(), kind, digest)
}

func (s *Server) addManifest(ref name.Tag, raw []byte) (string, error) {
	sum := sha256.Sum256(raw)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	_, err := s.Add(ManifestAddress(ref.String(), digest), raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[ref.RegistryStr()] = true
	delete(s.hosts, "v2")
	return digest, err
}

// addLayout serves what is in the tar and returns the one image in it.
func (s *Server) addLayout(ref name.Tag, file string) (v1.Descriptor, error) {
	fail := func(err error) (v1.Descriptor, error) { return v1.Descriptor{}, err }
	f, err := os.Open(file)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	var index v1.IndexManifest
	blobs := map[string]string{}
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fail(err)
		}
		switch hash, isBlob := strings.CutPrefix(header.Name, "blobs/sha256/"); {
		case header.Name == "index.json":
			if err := json.NewDecoder(r).Decode(&index); err != nil {
				return fail(err)
			}
		case isBlob && header.Typeflag == tar.TypeReg:
			blobs[hash] = filepath.Join(s.dir, "blob-"+hash)
			out, err := os.Create(blobs[hash])
			if err != nil {
				return fail(err)
			}
			_, err = io.Copy(out, r)
			if err := errors.Join(err, out.Close()); err != nil {
				return fail(err)
			}
		}
	}
	if len(index.Manifests) != 1 {
		return fail(fmt.Errorf("%s has %d images, expected one", file, len(index.Manifests)))
	}
	image := index.Manifests[0]
	for hash, local := range blobs {
		address := BlobAddress(ref.String(), "sha256:"+hash)
		if hash == image.Digest.Hex {
			address = ManifestAddress(ref.String(), "sha256:"+hash)
		}
		if _, err := s.AddFile(address, local); err != nil {
			return fail(err)
		}
	}
	return image, nil
}
