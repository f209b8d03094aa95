package lock

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// check reports what is wrong with the values. A lock decides what runs as root
// in an image and where files are written on this host: no value is taken on
// trust.
func (l *Lock) check(doc *profiles.Document) {
	c := checker{doc}
	c.is("apiVersion", l.APIVersion, profiles.APIVersion)
	c.is("kind", l.Kind, Kind)
	c.match("profile.name", l.Profile.Name, kernelName, "a profile's name")
	c.sum("profile.sha256", l.Profile.SHA256)
	c.match("profile.arch", l.Profile.Arch, archName, "an architecture")
	c.match("kernel.package", l.Kernel.Package, packageName, "a package's name")
	c.match("kernel.release", l.Kernel.Release, kernelName, "a kernel's release")
	c.sum("kernel.sha256", l.Kernel.SHA256)
	if len(l.Releases) == 0 {
		doc.Report("releases", "missing: expected the signed Release files of the archive")
	}
	for i, r := range l.Releases {
		at := fmt.Sprintf("releases[%d]", i)
		c.uri(at+".uri", r.URI)
		c.relative(at+".suite", r.Suite)
		c.sum(at+".sha256", r.SHA256)
		c.match(at+".signer", r.Signer, fingerprint, "the fingerprint of an OpenPGP key")
		if _, err := time.Parse(time.RFC3339, r.Date); err != nil {
			doc.Report(at+".date", "found %q, expected a time such as 2026-01-31T12:00:00Z", r.Date)
		}
	}
	c.cloudImage("base.cloudImage", l)
	if len(l.Packages) == 0 && l.Base.CloudImage.URL == "" {
		doc.Report("packages", "missing: expected the packages of the root file system")
	}
	c.packages("packages", l.Packages, l.Profile.Arch)
	kernel := false
	for _, p := range l.Packages {
		kernel = kernel || p.Name == l.Kernel.Package
	}
	for _, p := range l.Base.CloudImage.Packages {
		kernel = kernel || p.Name == l.Kernel.Package
	}
	if !kernel {
		doc.Report("kernel.package", "found %q, expected one of the lock's packages", l.Kernel.Package)
	}
	seen := map[string]bool{}
	for i, component := range l.Components {
		at := fmt.Sprintf("components[%d]", i)
		c.once(at+".name", component.Name, seen)
		c.component(at, component, l.Profile.Arch)
	}
	seen = map[string]bool{}
	for i, image := range l.Images {
		at := fmt.Sprintf("images[%d]", i)
		c.once(at+".name", image.Name, seen)
		if image.Name == "" || strings.ContainsAny(image.Name, " \t\n\\") {
			doc.Report(at+".name", "found %q, expected an image's name", image.Name)
		}
		c.match(at+".digest", image.Digest, digest, "sha256: and 64 hexadecimal digits")
	}
}

// maxImage bounds a cloud image, in bytes.
const maxImage = 16 << 30

// cloudImage checks the base of a lock that has one.
func (c checker) cloudImage(at string, l *Lock) {
	if !c.doc.Has("base") {
		return
	}
	image := l.Base.CloudImage
	c.uri(at+".url", image.URL)
	c.sum(at+".sha256", image.SHA256)
	if image.Size < 1 || image.Size > maxImage {
		c.doc.Report(at+".size", "found %d, expected 1 to %d bytes", image.Size, maxImage)
	}
	if image.Signer != "" {
		c.match(at+".signer", image.Signer, fingerprint, "the fingerprint of an OpenPGP key")
	}
	if len(image.Packages) == 0 {
		c.doc.Report(at+".packages", "missing: expected the packages that the image has")
	}
	seen := map[string]bool{}
	for _, p := range l.Packages {
		seen[p.Name] = true
	}
	for i, p := range image.Packages {
		at := fmt.Sprintf("%s.packages[%d]", at, i)
		c.once(at+".name", p.Name, seen)
		c.match(at+".name", p.Name, packageName, "a package's name")
		c.match(at+".version", p.Version, version, "a Debian version")
		if p.Arch != l.Profile.Arch && p.Arch != "all" {
			c.doc.Report(at+".arch", "found %q, expected %s or all", p.Arch, l.Profile.Arch)
		}
	}
}

type checker struct{ doc *profiles.Document }

func (c checker) is(at, found, want string) {
	if found != want {
		c.doc.Report(at, "found %q, expected %s", found, want)
	}
}

func (c checker) match(at, found string, pattern *regexp.Regexp, want string) {
	if !pattern.MatchString(found) {
		c.doc.Report(at, "found %q, expected %s", found, want)
	}
}

func (c checker) sum(at, found string) {
	c.match(at, found, hexSum, "a sha256 in 64 hexadecimal digits")
}

func (c checker) once(at, name string, seen map[string]bool) {
	if seen[name] {
		c.doc.Report(at, "%q is listed already", name)
	}
	seen[name] = true
}

func (c checker) uri(at, found string) {
	u, err := url.Parse(found)
	if err != nil || u.Host == "" && u.Scheme != "file" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file" {
		c.doc.Report(at, "found %q, expected http://, https:// or file:// without a user", found)
	}
}

// relative is a path that stays below where it is put.
func (c checker) relative(at, found string) {
	if found == "" || path.IsAbs(found) || path.Clean(found) != found || found == ".." || strings.HasPrefix(found, "../") || strings.ContainsAny(found, " \t\n\\?#") {
		c.doc.Report(at, "found %q, expected a path below the archive", found)
	}
}

func (c checker) packages(at string, list []Package, arch string) {
	seen := map[string]bool{}
	for i, p := range list {
		at := fmt.Sprintf("%s[%d]", at, i)
		c.once(at+".name", p.Name, seen)
		c.match(at+".name", p.Name, packageName, "a package's name")
		c.match(at+".version", p.Version, version, "a Debian version")
		if p.Arch != arch && p.Arch != "all" {
			c.doc.Report(at+".arch", "found %q, expected %s or all", p.Arch, arch)
		}
		c.sum(at+".sha256", p.SHA256)
		c.size(at+".size", p.Size)
		c.uri(at+".uri", p.URI)
		c.relative(at+".path", p.Path)
		switch p.Priority {
		case "", "required", "important", "standard":
		default:
			c.doc.Report(at+".priority", "found %q, expected required, important or standard, or none", p.Priority)
		}
	}
}

func (c checker) size(at string, n int) {
	const most = 2 << 30
	if n < 1 || n > most {
		c.doc.Report(at, "found %d, expected 1 to %d bytes", n, most)
	}
}

func (c checker) component(at string, component Component, arch string) {
	c.match(at+".name", component.Name, kernelName, "a component's name")
	if component.Version != "" {
		c.match(at+".version", component.Version, version, "a version")
	}
	switch profiles.SourceKind(component.Source) {
	case profiles.SourceGoModule, profiles.SourceDeb, profiles.SourceRelease, profiles.SourceFile, profiles.SourceRegistry:
	default:
		c.doc.Report(at+".source", "found %q, expected gomod, deb, release, file or registry", component.Source)
	}
	if component.Sum == "" {
		c.doc.Report(at+".sum", "missing: expected the component's sum")
	}
	if component.GoSum != "" {
		c.sum(at+".goSum", component.GoSum)
	}
	for i, d := range component.Downloads {
		c.sum(fmt.Sprintf("%s.downloads[%d].sha256", at, i), d.SHA256)
		c.size(fmt.Sprintf("%s.downloads[%d].size", at, i), d.Size)
	}
	c.packages(at+".packages", component.Packages, arch)
	if len(component.Files) == 0 {
		c.doc.Report(at+".files", "missing: expected the files of the component")
	}
	seen := map[string]bool{}
	for i, f := range component.Files {
		at := fmt.Sprintf("%s.files[%d]", at, i)
		c.once(at+".name", f.Name, seen)
		c.match(at+".name", f.Name, fileName, "a file's name without directories")
		c.sum(at+".sha256", f.SHA256)
		c.size(at+".size", f.Size)
	}
}
