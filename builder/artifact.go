package builder

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// Artifact is the finished image: its files and what its manifest says.
type Artifact struct {
	files     []string
	manifest  manifest.Manifest
	base      string
	os        profiles.OS
	generated map[string]any
}

var _ packersdk.Artifact = (*Artifact)(nil)

func newArtifact(p *profiles.Profile, m manifest.Manifest, base string, files []string) *Artifact {
	return &Artifact{files: files, manifest: m, base: base, os: p.OS}
}

// BuilderId implements packersdk.Artifact.
func (a *Artifact) BuilderId() string { return BuilderID }

// Files implements packersdk.Artifact: the images and the manifest, by their
// absolute paths, and nothing else.
func (a *Artifact) Files() []string { return slices.Clone(a.files) }

// Id implements packersdk.Artifact: the sha256 of the first image.
func (a *Artifact) Id() string {
	if len(a.manifest.Images) == 0 {
		return ""
	}
	return a.manifest.Images[0].SHA256
}

// SHA256 returns the digests of the images by their absolute paths, as they were
// written.
func (a *Artifact) SHA256() map[string]string {
	digests := map[string]string{}
	for i, image := range a.manifest.Images {
		digests[a.files[i]] = image.SHA256 // the manifest comes after them
	}
	return digests
}

// String implements packersdk.Artifact.
func (a *Artifact) String() string {
	lines := []string{"Node image " + a.manifest.Profile.Name + ":"}
	for _, image := range a.manifest.Images {
		lines = append(lines, fmt.Sprintf("  %s  %d MiB  sha256:%s", image.File, (image.Size+1<<20-1)>>20, image.SHA256))
	}
	return strings.Join(append(lines, "  "+a.files[len(a.files)-1]), "\n")
}

// State implements packersdk.Artifact: generated_data, and what HCP Packer
// keeps about an image.
func (a *Artifact) State(name string) any {
	switch name {
	case "generated_data":
		return a.generated
	case registryimage.ArtifactStateURI:
		image, err := registryimage.FromArtifact(a,
			registryimage.WithProvider("nodeimage"),
			registryimage.WithSourceID("base:"+a.base),
			registryimage.SetLabels(a.labels()),
		)
		if err != nil {
			return nil
		}
		return image
	}
	return nil
}

func (a *Artifact) labels() map[string]any {
	labels := map[string]any{
		"profile": a.manifest.Profile.Name, "profile_sha256": a.manifest.Profile.SHA256,
		"inputs": a.manifest.Inputs, "tool_version": a.manifest.Tool.Version,
		"os": a.os.Distribution + " " + a.os.Version, "arch": a.os.Arch,
	}
	for _, c := range a.manifest.Components {
		labels["component_"+c.Name] = c.Version
	}
	return labels
}

// Destroy implements packersdk.Artifact. It removes the files of this build
// and nothing else.
func (a *Artifact) Destroy() error {
	var errs []error
	for _, file := range a.files {
		errs = append(errs, ignoreMissing(os.Remove(file)))
	}
	return errors.Join(errs...)
}
