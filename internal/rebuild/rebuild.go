// Package rebuild makes an image once more from what its manifest says it was
// made from, and tells whether the same bytes come out.
package rebuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/nodediff"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// Original is an image with the manifest beside it.
type Original struct {
	Path     string
	Image    manifest.DiskImage // the manifest's entry for Path
	Manifest manifest.Manifest
}

// maxManifest bounds what is read of a manifest, in bytes; one has 100 kB.
const maxManifest = 16 << 20

// LockBeside is the lock that the builder left beside an image: what it was
// made from, which the archive may not have on offer any more. It is empty
// when there is none.
func LockBeside(image string) (string, error) {
	path := strings.TrimSuffix(image, filepath.Ext(image)) + lock.Suffix
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", exitcode.BadInput(fmt.Errorf("the lock of the image: %w", err))
	}
	return path, nil
}

// Read reads the manifest beside an image and makes sure that it is about
// these bytes. Errors are bad input.
func Read(ctx context.Context, image string) (Original, error) {
	o := Original{Path: image}
	m, err := readManifest(manifest.PathOf(image))
	if err != nil {
		return o, err
	}
	o.Manifest = m
	at := slices.IndexFunc(m.Images, func(i manifest.DiskImage) bool { return i.File == filepath.Base(image) })
	if at < 0 {
		return o, exitcode.BadInput(fmt.Errorf("%s has no image %s: expected the manifest that was written with it", manifest.PathOf(image), filepath.Base(image)))
	}
	o.Image = m.Images[at]
	sum, _, err := disk.Digest(ctx, image)
	if errors.Is(err, os.ErrNotExist) {
		err = exitcode.BadInput(err)
	}
	if err != nil {
		return o, err
	}
	if sum != o.Image.SHA256 {
		return o, exitcode.BadInput(fmt.Errorf("%s has the sha256 %s, and its manifest says %s: it was changed since it was built", image, sum, o.Image.SHA256))
	}
	return o, nil
}

func readManifest(path string) (m manifest.Manifest, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return m, exitcode.BadInput(fmt.Errorf("the manifest of the image: %w", err))
	}
	if !info.Mode().IsRegular() || info.Size() > maxManifest {
		return m, exitcode.BadInput(fmt.Errorf("%s: expected a file of %d MiB at most", path, maxManifest>>20))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return m, exitcode.BadInput(err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, exitcode.BadInput(fmt.Errorf("manifest %s: %w", path, err))
	}
	if m.Schema != manifest.SchemaVersion {
		return m, exitcode.BadInput(fmt.Errorf("manifest %s: schema %q: expected %s", path, m.Schema, manifest.SchemaVersion))
	}
	return m, nil
}

// CheckProfile refuses a profile that is not the one the image was built from.
func (o Original) CheckProfile(p *profiles.Profile) error {
	if p.Hash() != o.Manifest.Profile.SHA256 {
		return exitcode.BadInput(fmt.Errorf("%s was built from the profile %s with the sha256 %s, and the one that is here has %s: name the file it was built from with --profile",
			o.Path, o.Manifest.Profile.Name, o.Manifest.Profile.SHA256, p.Hash()))
	}
	return nil
}

// DiskSize is the size to build with, as an option of the builder.
func (o Original) DiskSize() string { return fmt.Sprintf("%dMiB", o.Image.VirtualSize>>20) }

// Report is what came of it.
type Report struct {
	Image     string `json:"image"`
	Rebuilt   string `json:"rebuilt"`
	SHA256    string `json:"sha256"`
	Got       string `json:"got"`
	Identical bool   `json:"identical"`
	// SameDisk tells of two that are not identical that every byte of their disks
	// is: only the files that hold them were written otherwise.
	SameDisk bool `json:"sameDisk"`
	// Differences name what the two were made from otherwise. Without any, the
	// same inputs gave other bytes.
	Differences []string `json:"differences"`
	// Diff has each file and each range of bytes that differs, when they do.
	Diff *nodediff.Report `json:"diff,omitempty"`
	// DiffError is why there is no Diff: not every format can be looked into.
	DiffError string `json:"diffError,omitempty"`
}

// Compare compares the original with the image that was built again. When they
// differ it looks into both.
func Compare(ctx context.Context, o Original, again string) (Report, error) {
	m, err := readManifest(manifest.PathOf(again))
	if err != nil {
		return Report{}, err
	}
	r := Report{Image: o.Path, Rebuilt: again, SHA256: o.Image.SHA256, Differences: []string{}}
	for _, i := range m.Images {
		if i.Format == o.Image.Format {
			r.Got = i.SHA256
		}
	}
	r.Identical = r.Got == r.SHA256
	if r.Identical {
		return r, nil
	}
	r.Differences = differences(o.Manifest, m)
	diff, err := nodediff.Compare(ctx, o.Path, again, nodediff.Options{Times: true, Disk: true})
	if err != nil && ctx.Err() == nil {
		// Files may be too large to be read; their ranges on the disk are named.
		diff, err = nodediff.Compare(ctx, o.Path, again, nodediff.Options{Files: nodediff.Metadata, Times: true, Disk: true})
	}
	switch {
	case ctx.Err() != nil:
		return r, exitcode.Transient(ctx.Err())
	case err != nil:
		r.DiffError = err.Error()
	default:
		r.Diff = &diff
		r.SameDisk = diff.Same && diff.Disk != nil
	}
	return r, nil
}

// differences lists what differs between two manifests, sorted by kind and name.
func differences(a, b manifest.Manifest) []string {
	list := []string{}
	if a.Tool != b.Tool {
		list = append(list, fmt.Sprintf("built by %s %s, now by %s %s", a.Tool.Name, a.Tool.Version, b.Tool.Name, b.Tool.Version))
	}
	add := func(kind string, before, after map[string]string) {
		names := map[string]bool{}
		for name := range before {
			names[name] = true
		}
		for name := range after {
			names[name] = true
		}
		var lines []string
		for name := range names {
			was, had := before[name]
			is, has := after[name]
			switch {
			case !had:
				lines = append(lines, fmt.Sprintf("%s %s: new, %s", kind, name, is))
			case !has:
				lines = append(lines, fmt.Sprintf("%s %s: gone, was %s", kind, name, was))
			case was != is:
				lines = append(lines, fmt.Sprintf("%s %s: was %s, is %s", kind, name, was, is))
			}
		}
		slices.Sort(lines)
		list = append(list, lines...)
	}
	add("base", base(a), base(b))
	add("package", packages(a), packages(b))
	add("component", components(a), components(b))
	add("file", files(a), files(b))
	add("container image", containers(a), containers(b))
	return list
}

func base(m manifest.Manifest) map[string]string {
	if m.Base == nil {
		return nil
	}
	return map[string]string{"cloud image": strings.TrimSpace(m.Base.URL + " sha256:" + m.Base.SHA256 + " " + m.Base.Signer)}
}

func packages(m manifest.Manifest) map[string]string {
	all := map[string]string{}
	for _, p := range m.Packages {
		all[p.Name+":"+p.Arch] = p.Version + " sha256:" + p.SHA256
	}
	return all
}

func components(m manifest.Manifest) map[string]string {
	all := map[string]string{}
	for _, c := range m.Components {
		all[c.Name] = strings.TrimSpace(c.Version + " " + c.Source + " " + c.Sum + " " + c.Toolchain)
	}
	return all
}

func files(m manifest.Manifest) map[string]string {
	all := map[string]string{}
	for _, c := range m.Components {
		for _, f := range c.Files {
			all[f.Path] = "sha256:" + f.SHA256
		}
	}
	return all
}

func containers(m manifest.Manifest) map[string]string {
	all := map[string]string{}
	for _, c := range m.Containers {
		all[c.Name] = c.Digest
	}
	return all
}
