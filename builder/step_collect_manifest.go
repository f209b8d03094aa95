package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/bootstrap"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/version"
)

// stepCollectManifest reads from the finished image what it is made of.
//
// Uses build.root and build.base. Sets build.fragment, build.packages and
// build.inputs.
type stepCollectManifest struct{ *build }

func (s *stepCollectManifest) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	var err error
	if s.fragment, err = readFragments(s.root); err != nil {
		return s.fail(state, "collecting the manifest", err)
	}
	status, err := s.root.ReadFile("/var/lib/dpkg/status")
	if err != nil {
		return s.fail(state, "collecting the manifest", err)
	}
	if s.packages, err = bootstrap.Installed(bytes.NewReader(status)); err != nil {
		return s.fail(state, "collecting the manifest", fmt.Errorf("dpkg's status in the image: %w", err))
	}
	if unknown := bootstrap.Resolve(s.packages, s.base.Packages); len(unknown) > 0 {
		s.ui.Say("warning: packages that a provisioner installed have no sha256 in the manifest: " + strings.Join(unknown, ", ") +
			". Name them in packages.include of the profile instead.")
	}
	if s.inputs, err = inputsDigest(s.config, s.base, s.fragment, s.packages); err != nil {
		return s.fail(state, "collecting the manifest", err)
	}
	return multistep.ActionContinue
}

func (s *stepCollectManifest) Cleanup(multistep.StateBag) {}

// readFragments merges what the provisioners recorded, sorted by name.
func readFragments(root *rooted.Dir) (manifest.Fragment, error) {
	var all manifest.Fragment
	entries, err := root.ReadDir(manifest.FragmentDir)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return all, err
	}
	owner := map[string]string{}
	var errs []error
	claim := func(file, what string) {
		if other, taken := owner[what]; taken {
			errs = append(errs, fmt.Errorf("%s: %s is recorded by %s already", file, what, other))
		}
		owner[what] = file
	}
	for _, e := range entries {
		if path.Ext(e.Name()) != ".json" {
			continue
		}
		text, err := root.ReadFile(path.Join(manifest.FragmentDir, e.Name()))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var f manifest.Fragment
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&f); err != nil {
			errs = append(errs, fmt.Errorf("manifest fragment %s: %w", e.Name(), err))
			continue
		}
		for _, c := range f.Components {
			claim(e.Name(), "component "+c.Name)
		}
		for _, c := range f.Containers {
			claim(e.Name(), "container image "+c.Name)
		}
		all.Components = append(all.Components, f.Components...)
		all.Containers = append(all.Containers, f.Containers...)
	}
	slices.SortFunc(all.Components, func(a, b manifest.Component) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(all.Containers, func(a, b manifest.Container) int { return strings.Compare(a.Name, b.Name) })
	return all, errors.Join(errs...)
}

// inputsDigest is over everything that decides what is in the image, and not
// over the formats that it is written in.
func inputsDigest(c *Config, base bootstrap.Base, f manifest.Fragment, packages []manifest.Package) (string, error) {
	text, err := json.Marshal(struct {
		Profile, Tool string
		// Epoch stands for the state of the archive, and Packages for what was
		// taken of it. The key of the base would also count which mmdebstrap
		// unpacked it, from where.
		Epoch    int64
		DiskSize int64
		Base     *manifest.Base `json:",omitempty"`
		Fragment manifest.Fragment
		Packages []manifest.Package
	}{c.profile.Hash(), version.String(), base.Epoch.Unix(), c.size, baseImage(base), f, packages})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// newManifest puts together what the steps found out.
func (b *build) newManifest() manifest.Manifest {
	m := manifest.Manifest{
		Schema:     manifest.SchemaVersion,
		Profile:    manifest.Profile{Name: b.config.profile.Name, SHA256: b.config.profile.Hash()},
		Inputs:     b.inputs,
		Tool:       manifest.Tool{Name: toolName, Version: version.String()},
		Base:       baseImage(b.base),
		StandIns:   b.config.profile.StandIns,
		Components: b.fragment.Components,
		Packages:   b.packages,
		Containers: b.fragment.Containers,
		Sizes:      manifest.Sizes{RootFS: b.rootSize},
	}
	for _, image := range b.images {
		m.Images = append(m.Images, image.record)
	}
	// Lists, also when they are empty.
	if m.Components == nil {
		m.Components = []manifest.Component{}
	}
	if m.Containers == nil {
		m.Containers = []manifest.Container{}
	}
	return m
}

// baseImage is what the manifest says of a base, nil for one that was bootstrapped.
func baseImage(base bootstrap.Base) *manifest.Base {
	image := base.Record.Base.CloudImage
	if image.URL == "" {
		return nil
	}
	return &manifest.Base{URL: image.URL, SHA256: image.SHA256, Signer: image.Signer}
}

const toolName = "packer-plugin-nodeimage"
