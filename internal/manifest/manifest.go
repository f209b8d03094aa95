// Package manifest defines the record that stands beside every image, and
// the fragments that provisioners leave inside it.
//
// Provisioners write fragments into FragmentDir of the image; the builder
// merges them without knowing what they are about. So an image built by
// Packer and one built in-process carry the same manifest.
package manifest

import (
	"path/filepath"
	"strings"
)

// PathOf is where the builder puts the manifest of an image: beside it.
func PathOf(image string) string {
	return strings.TrimSuffix(image, filepath.Ext(image)) + ".manifest.json"
}

// FragmentDir is where provisioners leave one JSON fragment each, named after
// the provisioner: host.json, runtime.json, kubernetes.json.
const FragmentDir = "/usr/lib/nodeimage/manifest.d"

// SchemaVersion is the version of the Manifest document.
const SchemaVersion = "nodeimage.dev/manifest/v1"

// Manifest is DIR/<profile>.manifest.json.
type Manifest struct {
	Schema  string  `json:"schema"`
	Profile Profile `json:"profile"`
	// Inputs is a digest over everything the build was made from; the same
	// inputs need no new build.
	Inputs string `json:"inputs"`
	Tool   Tool   `json:"tool"`
	// Base is the image that this one began as; nil when it was bootstrapped.
	Base *Base `json:"base,omitempty"`
	// StandIns is what the image was made from that is not the real thing, as
	// its profile says.
	StandIns   []string    `json:"standIns,omitempty"`
	Images     []DiskImage `json:"images"`
	Components []Component `json:"components"`
	Packages   []Package   `json:"packages"`
	Containers []Container `json:"containerImages"`
	Sizes      Sizes       `json:"sizes"`
}

// Profile names the effective profile and its digest.
type Profile struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // of the canonical JSON of the effective profile
}

// Base is an image that the distribution made. Its partitions but for the file
// systems, its boot loader and its shim are those of this image.
type Base struct {
	URL    string `json:"url"`
	SHA256 string `json:"sha256"` // of the file
	// Signer is the fingerprint of the OpenPGP key that signed the sum; empty
	// where nobody signs one.
	Signer string `json:"signer,omitempty"`
}

// Tool is what built the image.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// DiskImage is one output file.
type DiskImage struct {
	File        string `json:"file"` // base name
	Format      string `json:"format"`
	SHA256      string `json:"sha256"`
	Size        int64  `json:"size"`        // bytes of the file
	VirtualSize int64  `json:"virtualSize"` // bytes of the disk
}

// Fragment is what one provisioner contributes.
type Fragment struct {
	Components []Component `json:"components,omitempty"`
	Containers []Container `json:"containerImages,omitempty"`
}

// Component is a pinned component with where it came from and what it became.
type Component struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	Source    string `json:"source"`           // gomod, deb, release, file, registry
	Module    string `json:"module,omitempty"` // module@version for gomod, URL or path of the only download, name of the image
	Sum       string `json:"sum"`              // h1:… or sha256:…
	Toolchain string `json:"toolchain,omitempty"`
	// Downloads are the files that a release or file component came in.
	Downloads []Download `json:"downloads,omitempty"`
	Files     []File     `json:"files,omitempty"`
}

// Download is one file that a component came in.
type Download struct {
	From   string `json:"from"` // upstream's URL, or the path on the build host
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// File is an installed file of a component.
type File struct {
	Path   string `json:"path"` // in the image
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// Package is one installed .deb.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	SHA256  string `json:"sha256"` // of the .deb as the signed archive index lists it
	// Base tells that it came in the base image, whose sha256 stands for it.
	Base bool `json:"base,omitempty"`
}

// Container is one preloaded container image.
type Container struct {
	Name   string `json:"name"`   // with repository and tag
	Digest string `json:"digest"` // sha256:… of the image manifest
	Size   int64  `json:"size"`   // bytes, all blobs
}

// Sizes in bytes.
type Sizes struct {
	RootFS int64 `json:"rootfs"` // sum of regular files in the root file system
}
