package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// expectation is what the image claims about itself.
type expectation struct {
	Profile    string
	Digest     string   // of the effective profile; empty if nothing is claimed
	Kubernetes string   // version without v; empty if nothing is claimed
	SHA256     string   // of the image file; empty if nothing is claimed
	Source     string   // for messages
	StandIns   []string // what it was made from that is not the real thing
}

const kubernetesComponent = "kubernetes"

// expect reads the claims from the profile, if there is one, and from the
// manifest beside the image. Only a manifest can claim a digest.
func expect(image string, profile *profiles.Profile) (expectation, error) {
	var e expectation
	path := manifest.PathOf(image)
	data, err := os.ReadFile(path)
	switch {
	case image == "": // a host has no manifest
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return e, exitcode.BadInput(fmt.Errorf("reading the manifest: %w", err))
	default:
		var m manifest.Manifest
		if err := json.Unmarshal(data, &m); err != nil {
			return e, exitcode.BadInput(fmt.Errorf("reading the manifest %s: %w", path, err))
		}
		if m.Schema != manifest.SchemaVersion {
			return e, exitcode.BadInput(fmt.Errorf("reading the manifest %s: schema is %q, expected %q", path, m.Schema, manifest.SchemaVersion))
		}
		e.Source, e.Profile, e.Digest = path, m.Profile.Name, m.Profile.SHA256
		e.StandIns = m.StandIns
		if i := slices.IndexFunc(m.Images, func(d manifest.DiskImage) bool { return d.File == filepath.Base(image) }); i >= 0 {
			e.SHA256 = m.Images[i].SHA256
		}
		if i := slices.IndexFunc(m.Components, func(c manifest.Component) bool { return c.Name == kubernetesComponent }); i >= 0 {
			e.Kubernetes = m.Components[i].Version
		}
	}
	if profile != nil {
		e.Source, e.Profile, e.Digest = "profile "+profile.Name, profile.Name, profile.Hash()
		e.Kubernetes = profile.Components[kubernetesComponent].Version
		// The image's own manifest may know of more.
		for _, s := range profile.StandIns {
			if !slices.Contains(e.StandIns, s) {
				e.StandIns = append(e.StandIns, s)
			}
		}
	}
	return e, nil
}
