// Package lock is the record of everything that an image is made from: each
// .deb, the signed Release files it was found through, each component and each
// container image, by its sum. What a lock names is all that a locked build
// installs.
package lock

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"gopkg.in/yaml.v3"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// Kind is that of a lock's document; its apiVersion is the profiles'.
const Kind = "Lock"

// Suffix ends the name of a lock's file: NAME.lock.yaml.
const Suffix = ".lock.yaml"

// Lock is one lock file.
type Lock struct {
	Content
	file string // where it was read from, for errors
}

// Content is what stands in the file.
type Content struct {
	APIVersion string  `yaml:"apiVersion" json:"apiVersion"`
	Kind       string  `yaml:"kind" json:"kind"`
	Profile    Profile `yaml:"profile" json:"profile"`
	// Kernel is the release that the image boots.
	Kernel Kernel `yaml:"kernel" json:"kernel"`
	// Base is the image that the root file system begins as, if it is not
	// bootstrapped.
	Base Base `yaml:"base,omitempty" json:"base,omitzero"`
	// Releases are the signed Release files that Packages were found through.
	Releases []Release `yaml:"releases" json:"releases"`
	// Packages are all those of the root file system, by name, but for those that
	// Base has.
	Packages []Package `yaml:"packages" json:"packages"`
	// Components are the pinned software beside the distribution, by name.
	Components []Component `yaml:"components" json:"components"`
	// Images are the container images in the root file system, by name.
	Images []Image `yaml:"images" json:"images"`
}

// Profile is the effective profile that was resolved.
type Profile struct {
	Name   string `yaml:"name" json:"name"`
	SHA256 string `yaml:"sha256" json:"sha256"`
	Arch   string `yaml:"arch" json:"arch"` // Debian's name
}

// Kernel is the one kernel of the image.
type Kernel struct {
	// Package has the kernel, such as linux-image-6.12.57+deb13-amd64; it is one
	// of the lock's packages.
	Package string `yaml:"package" json:"package"`
	// Release is what `uname -r` will say: the name below /lib/modules.
	Release string `yaml:"release" json:"release"`
	SHA256  string `yaml:"sha256" json:"sha256"` // of /boot/vmlinuz-RELEASE
}

// Base is what a root file system begins as.
type Base struct {
	CloudImage CloudImage `yaml:"cloudImage,omitempty" json:"cloudImage,omitzero"`
}

// CloudImage is an image that the distribution made.
type CloudImage struct {
	URL    string `yaml:"url" json:"url"`
	SHA256 string `yaml:"sha256" json:"sha256"`
	Size   int    `yaml:"size" json:"size"` // bytes
	// Signer is the fingerprint of the OpenPGP key that signed its sum; empty
	// where nobody signs one.
	Signer string `yaml:"signer,omitempty" json:"signer,omitempty"`
	// Packages are those of the image that are in the root file system as they
	// came. The sum of the image stands for them.
	Packages []Installed `yaml:"packages" json:"packages"`
}

// Installed is a package that came in an image.
type Installed struct {
	Name    string `yaml:"name" json:"name"`
	Version string `yaml:"version" json:"version"`
	Arch    string `yaml:"arch" json:"arch"` // also all
}

// Release is one signed Release file.
type Release struct {
	URI    string `yaml:"uri" json:"uri"` // of the archive
	Suite  string `yaml:"suite" json:"suite"`
	SHA256 string `yaml:"sha256" json:"sha256"` // of InRelease
	Date   string `yaml:"date" json:"date"`     // when it was made, RFC 3339
	// Signer is the fingerprint of the OpenPGP key that made the signature.
	Signer string `yaml:"signer" json:"signer"`
}

// Package is one .deb.
type Package struct {
	Name    string `yaml:"name" json:"name"`
	Version string `yaml:"version" json:"version"`
	Arch    string `yaml:"arch" json:"arch"` // also all
	SHA256  string `yaml:"sha256" json:"sha256"`
	Size    int    `yaml:"size" json:"size"` // bytes
	// URI is that of the archive, Path the file's place in it.
	URI  string `yaml:"uri" json:"uri"`
	Path string `yaml:"path" json:"path"`
	// Priority is the archive's, where it decides what is installed: required,
	// important or standard. An archive may have another one than the .deb says.
	Priority string `yaml:"priority,omitempty" json:"priority,omitempty"`
}

// Component is one pinned component.
type Component struct {
	Name    string `yaml:"name" json:"name"`
	Version string `yaml:"version,omitempty" json:"version,omitempty"`
	Source  string `yaml:"source" json:"source"` // gomod, deb, release, file, registry
	// From is the module and its version, the URL or path of the only download,
	// or the name of the image.
	From string `yaml:"from,omitempty" json:"from,omitempty"`
	Sum  string `yaml:"sum" json:"sum"` // h1:… or sha256:…
	// GoSum is the sha256 of the go.sum that has the sum of every module that the
	// component is built with.
	GoSum     string `yaml:"goSum,omitempty" json:"goSum,omitempty"`
	Toolchain string `yaml:"toolchain,omitempty" json:"toolchain,omitempty"`
	Signer    string `yaml:"signer,omitempty" json:"signer,omitempty"` // who signed the release
	// Downloads are the files that a release came in.
	Downloads []Download `yaml:"downloads,omitempty" json:"downloads,omitempty"`
	// Packages are the .debs of a `deb` component.
	Packages []Package `yaml:"packages,omitempty" json:"packages,omitempty"`
	// Files are what the component became.
	Files []File `yaml:"files" json:"files"`
}

// Download is one file that a component came in.
type Download struct {
	From   string `yaml:"from" json:"from"`
	SHA256 string `yaml:"sha256" json:"sha256"`
	Size   int    `yaml:"size" json:"size"` // bytes
}

// File is one file of a component.
type File struct {
	Name   string `yaml:"name" json:"name"`
	SHA256 string `yaml:"sha256" json:"sha256"`
	Size   int    `yaml:"size" json:"size"` // bytes
}

// Image is one container image.
type Image struct {
	Name   string `yaml:"name" json:"name"`     // with repository and tag
	Digest string `yaml:"digest" json:"digest"` // sha256:… of its manifest
}

// File is where the lock was read from, or empty.
func (l *Lock) File() string { return l.file }

// Beside returns the place of the lock of a profile file: node.yaml has
// node.lock.yaml. Of a built-in profile it is in the current directory.
func Beside(nameOrPath string) string {
	return strings.TrimSuffix(nameOrPath, ".yaml") + Suffix
}

// Find returns the lock that a build of a profile uses: the one named file, or,
// when that is empty and the profile is a file, the one beside it. Nil without an
// error means that there is none. Errors are bad input.
func Find(file, profile string) (*Lock, error) {
	if file != "" {
		return Load(file)
	}
	if !strings.HasSuffix(profile, ".yaml") {
		return nil, nil
	}
	l, err := Load(Beside(profile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return l, err
}

// Load reads a lock file. Every problem is reported at once, with its line, as
// bad input.
func Load(file string) (*Lock, error) {
	data, err := profiles.ReadBounded(file)
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("reading the lock: %w", err))
	}
	return Parse(file, data)
}

// Parse is Load of text; file is for errors.
func Parse(file string, data []byte) (*Lock, error) {
	l := &Lock{file: file}
	doc := profiles.ReadDocument(file, "lock", data, &l.Content)
	l.check(doc)
	if err := doc.Err(); err != nil {
		return nil, exitcode.BadInput(err)
	}
	return l, nil
}

// Encode sorts the lock and returns it as a file's text, after checking it as
// Parse does: no lock is written that cannot be read.
func (l *Lock) Encode() ([]byte, error) {
	l.APIVersion, l.Kind = profiles.APIVersion, Kind
	slices.SortFunc(l.Packages, comparePackages)
	slices.SortFunc(l.Base.CloudImage.Packages, func(a, b Installed) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch))
	})
	slices.SortFunc(l.Components, func(a, b Component) int { return strings.Compare(a.Name, b.Name) })
	for i := range l.Components {
		slices.SortFunc(l.Components[i].Packages, comparePackages)
		slices.SortFunc(l.Components[i].Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	}
	slices.SortFunc(l.Images, func(a, b Image) int { return strings.Compare(a.Name, b.Name) })
	var out bytes.Buffer
	fmt.Fprintf(&out, "# What %s is made from. Written by nodeimage; `nodeimage lock --update` changes it.\n", l.Profile.Name)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(l.Content), enc.Close()); err != nil {
		return nil, fmt.Errorf("writing the lock: %w", err)
	}
	if _, err := Parse("the lock to be written", out.Bytes()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func comparePackages(a, b Package) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch))
}

// AllPackages are those of the root file system that were installed from an
// archive and those of components, each .deb once.
func (l *Lock) AllPackages() []Package {
	all := slices.Clone(l.Packages)
	for _, c := range l.Components {
		all = append(all, c.Packages...)
	}
	slices.SortFunc(all, func(a, b Package) int { return cmp.Or(comparePackages(a, b), strings.Compare(a.SHA256, b.SHA256)) })
	return slices.CompactFunc(all, func(a, b Package) bool { return a.SHA256 == b.SHA256 })
}

// Component returns the component of that name.
func (l *Lock) Component(name string) (Component, bool) {
	for _, c := range l.Components {
		if c.Name == name {
			return c, true
		}
	}
	return Component{}, false
}

// For checks that the lock is one of profile p. Errors are bad input.
func (l *Lock) For(p *profiles.Profile) error {
	if l.Profile.SHA256 == p.Hash() {
		return nil
	}
	if l.Profile.Name != p.Name {
		return exitcode.BadInput(fmt.Errorf("the lock %s is of the profile %s, not of %s: name another one with --lock", l.where(), l.Profile.Name, p.Name))
	}
	return exitcode.BadInput(fmt.Errorf("the lock %s was made before the profile %s changed (profile %s, lock %s): run `nodeimage lock --update`, which says what moves",
		l.where(), p.Name, short(p.Hash()), short(l.Profile.SHA256)))
}

func (l *Lock) where() string {
	if l.file == "" {
		return "that was given"
	}
	return filepath.ToSlash(l.file)
}

func short(sum string) string { return sum[:min(len(sum), 12)] }

// Write puts the lock into file, whole or not at all.
func (l *Lock) Write(file string) error {
	text, err := l.Encode()
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("writing the lock: %w", err)
	}
	return nil
}

var (
	hexSum      = regexp.MustCompile(`^[0-9a-f]{64}$`)
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,127}$`)
	version     = regexp.MustCompile(`^[0-9A-Za-z.+:~-]{1,128}$`)
	archName    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,31}$`)
	fingerprint = regexp.MustCompile(`^[0-9A-F]{40,64}$`)
	digest      = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	fileName    = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._+~%:-]{0,254}$`)
	kernelName  = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+~_-]{0,127}$`)
)
