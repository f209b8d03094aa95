// Package component fetches, builds and verifies the pinned components of a
// profile and keeps them in the content-addressed store.
package component

import (
	"context"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// File is one file of a built component in the store.
type File struct {
	Name   string // base name: containerd, containerd-shim-runc-v2, runc, bridge…
	Path   string // absolute path on this host
	SHA256 string
	Size   int64
}

// Built is a component that is ready to be installed.
type Built struct {
	Name    string // as in the profile
	Version string
	Record  manifest.Component // without Files' image paths; provisioners fill those in
	Files   []File
	// Packages are the .debs of a deb component, as the archive lists them.
	Packages []lock.Package
}

// File returns the file called name, or false.
func (b Built) File(name string) (File, bool) {
	for _, f := range b.Files {
		if f.Name == name {
			return f, true
		}
	}
	return File{}, false
}

// Image is a container image, packed as an OCI image layout tar that
// `ctr images import` reads, under its full name.
type Image struct {
	Name   string // registry.k8s.io/etcd:3.7.0-0
	Digest string // sha256:… of the image manifest
	Size   int64  // bytes, all blobs
	Path   string // the tar on this host
}

// Resolver yields ready components and images. It is safe for concurrent use;
// two processes asking for the same thing make it once.
type Resolver interface {
	// Component returns the named component of the resolver's profile.
	Component(ctx context.Context, name string) (Built, error)
	// Images returns the container images that this profile's kubeadm asks
	// for, in the order `kubeadm config images list` prints them.
	Images(ctx context.Context) ([]Image, error)
	// Preloaded returns what containerd's root directory holds once those
	// images are imported, as a tar that is compressed with zstd, or "" when
	// nobody has imported them ahead. See [preload.Unpack].
	Preloaded(ctx context.Context) (path string, err error)
}
