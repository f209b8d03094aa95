package profiles

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// componentRule says what a profile must tell about a component.
type componentRule struct {
	name string
	// versioned components have a version of their own; kube-proxy-base is a
	// set of distribution packages, each with its own.
	versioned bool
	// image is the name, without repository and tag, of the container image
	// that kubeadm asks for by a tag that is not the Kubernetes version.
	image   string
	sources []SourceKind
	// needed says why the profile must have the component, or "".
	needed func(p *Profile) string
}

// controlPlane are the images that carry Kubernetes' own version, in kubeadm's
// order. A component of that name pulls the image instead of assembling it.
var controlPlane = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"}

// componentRules lists every component.
func componentRules() []componentRule {
	always := func(*Profile) string { return "expected the component %s with its version and source" }
	never := func(*Profile) string { return "" }
	programs := []SourceKind{SourceGoModule, SourceDeb, SourceRelease, SourceFile}
	images := append(slices.Clone(programs), SourceRegistry)
	rules := []componentRule{
		{"containerd", true, "", programs, always},
		{"runc", true, "", programs, always},
		{"cni-plugins", true, "", programs, always},
		{"kubernetes", true, "", programs, always},
		{"etcd", true, "etcd", images, always},
		{"coredns", true, "coredns/coredns", images, always},
		{"pause", true, "pause", images, always},
		{"kube-proxy-base", false, "", []SourceKind{SourceDeb}, func(p *Profile) string {
			if p.pulls("kube-proxy") {
				return ""
			}
			return always(p)
		}},
		{"control-plane", true, "", []SourceKind{SourceGoModule, SourceRelease, SourceFile}, func(p *Profile) string {
			assembled := slices.DeleteFunc(slices.Clone(controlPlane), p.pulls)
			k := p.Components["kubernetes"]
			if len(assembled) == 0 || k.Source != SourceRelease && k.Source != SourceFile || k.hasPrograms(assembled) {
				return ""
			}
			return "expected the component %s, from which the images " + strings.Join(assembled, ", ") +
				" are assembled, or a component with source registry for each of them: the source " + string(k.Source) + " of kubernetes has only a node's programs"
		}},
	}
	for _, name := range controlPlane {
		rules = append(rules, componentRule{name, true, "", []SourceKind{SourceRegistry}, never})
	}
	return append(rules, componentRule{"crictl", true, "", []SourceKind{SourceRelease, SourceFile}, never})
}

// pulls tells whether the image of that name comes from a registry.
func (p *Profile) pulls(name string) bool { return p.Components[name].Source == SourceRegistry }

// hasPrograms tells whether the component's files are, among others, the named
// programs.
func (c Component) hasPrograms(names []string) bool {
	for _, name := range names {
		if !slices.ContainsFunc(c.Fetches("amd64"), func(f Fetch) bool { return f.Name == name }) {
			return false
		}
	}
	return true
}

var (
	upstreamVersion = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))?(-[0-9A-Za-z]+(\.[0-9A-Za-z]+)*)?$`)
	debianVersion   = regexp.MustCompile(`^([0-9]+:)?[0-9][0-9A-Za-z.+~-]*$`)
	modulePath      = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+(/[A-Za-z0-9._~-]+)*$`)
	moduleVersion   = regexp.MustCompile(`^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+incompatible)?$`)
	moduleMajor     = regexp.MustCompile(`/v([0-9]+)$`)
	programName     = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)
	imageDigest     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	imageTag        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	sha256Hex       = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func (v *validator) components(p *Profile) {
	var names []string
	for _, rule := range componentRules() {
		names = append(names, rule.name)
	}
	for _, name := range sortedKeys(p.Components) {
		if slices.Contains(names, name) {
			continue
		}
		at := join("components", name)
		where := v.keyAt[at]
		if guess := closest(name, names); guess != "" {
			v.refuse(where, at, "unknown component; did you mean %q?", guess)
			v.refused[join("components", guess)] = v.refused[join("components", guess)] || p.Components[guess].Source == ""
			continue
		}
		v.refuse(where, at, "unknown component; expected %s", choice(names))
	}
	for _, rule := range componentRules() {
		at := join("components", rule.name)
		c, given := p.Components[rule.name]
		if !given {
			if needed := rule.needed(p); needed != "" {
				v.report(at, "missing: "+needed, rule.name)
			}
			continue
		}
		v.component(at, c, rule, p.OS.Arch)
	}
	v.packaged(p)
	v.sums(p)
	v.versions(p)
}

// packaged wants runc to be looked for where its package has it.
func (v *validator) packaged(p *Profile) {
	paths := []string{"/usr/bin/runc", "/usr/sbin/runc"}
	if p.Components["runc"].Source == SourceDeb && !slices.Contains(paths, p.Runtime.RuncPath) {
		v.report("runtime.runcPath", "found %s, expected %s: components.runc is a package, which has it there (Docker's containerd.io in the first)", quote(p.Runtime.RuncPath), strings.Join(paths, " or "))
	}
}

func (v *validator) component(at string, c Component, rule componentRule, arch string) {
	var sources []string
	for _, kind := range rule.sources {
		sources = append(sources, string(kind))
	}
	v.oneOf(at+".source", string(c.Source), sources)
	v.version(at+".version", c, rule)
	if !slices.Contains(rule.sources, c.Source) {
		return // what its source would need is not known
	}
	used := map[string]bool{}
	switch c.Source {
	case SourceGoModule:
		used = map[string]bool{"module": true, "moduleVersion": true, "sum": true}
		v.goModule(at, c)
	case SourceDeb:
		used = map[string]bool{"packages": true, "sha256": true}
		v.filled(at+".packages", len(c.Packages), "package")
		v.patternList(at+".packages", c.Packages, packageName, "the name of a package")
		if len(c.SHA256) > 0 {
			if !rule.versioned || c.Version == "" {
				v.reportKey(at+".sha256", "a sum belongs to a version: this component has none")
			}
			v.digests(at, c.SHA256, arch)
		}
	case SourceRelease, SourceFile:
		used = map[string]bool{"files": true}
		v.files(at, c, arch)
	case SourceRegistry:
		used = map[string]bool{"digest": true}
		v.match(at+".digest", c.Digest, imageDigest, "sha256: and 64 lower-case hexadecimal digits")
	}
	for _, key := range []string{"module", "moduleVersion", "sum", "packages", "sha256", "files", "digest"} {
		if _, given := v.keyAt[at+"."+key]; given && !used[key] {
			v.reportKey(at+"."+key, "source %s does not use this key: remove it", c.Source)
		}
	}
	if rule.image != "" {
		expected := "the image that kubeadm asks for, without repository: " + rule.image + ":TAG"
		tag, is := strings.CutPrefix(c.Image, rule.image+":")
		if v.required(at+".image", c.Image, expected) && !(is && imageTag.MatchString(tag)) {
			v.report(at+".image", "found %s, expected %s", quote(c.Image), expected)
		}
	} else if c.Image != "" {
		v.reportKey(at+".image", "this component is no image of its own: remove the key")
	}
}

func (v *validator) version(at string, c Component, rule componentRule) {
	switch {
	case c.Version == "" && !rule.versioned:
	case c.Version == "" && slices.Contains(controlPlane, rule.name): // as kubernetes, which was reported
	case c.Source == SourceDeb:
		v.match(at, c.Version, debianVersion, "a Debian package version, such as 1.7.24~ds1-6+deb13u1")
	default:
		expected := "a version such as 1.37.2"
		if strings.HasPrefix(c.Version, "v") {
			expected += ", without v"
		}
		v.match(at, c.Version, upstreamVersion, expected)
	}
}

func (v *validator) goModule(at string, c Component) {
	v.match(at+".module", c.Module, modulePath, "the path of a Go module, such as k8s.io/kubernetes")
	if c.ModuleVersion != "" {
		v.match(at+".moduleVersion", c.ModuleVersion, moduleVersion, "the version of a Go module, such as v1.37.2")
	}
	expected := "the h1: sum of the Go checksum database, as go mod download -json prints it"
	if v.required(at+".sum", c.Sum, expected) {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(c.Sum, "h1:"))
		if !strings.HasPrefix(c.Sum, "h1:") || err != nil || len(raw) != 32 {
			v.report(at+".sum", "found %s, expected %s", quote(c.Sum), expected)
		}
	}
	// From major version 2 on the path of a Go module ends in it.
	version := c.GoModuleVersion()
	if !moduleVersion.MatchString(version) || !modulePath.MatchString(c.Module) || strings.HasSuffix(version, "+incompatible") {
		return
	}
	major := moduleVersion.FindStringSubmatch(version)[1]
	inPath := moduleMajor.FindStringSubmatch(c.Module)
	switch {
	case inPath != nil && inPath[1] != major:
		v.report(at+".module", "found %s, which cannot have version %s: expected a path that ends in the major version", quote(c.Module), version)
	case inPath == nil && major != "0" && major != "1":
		v.report(at+".module", "found %s, expected %q for version %s", quote(c.Module), c.Module+"/v"+major, version)
	}
}

// files checks where a component's files are. Those of a release that come
// with this program were filled in with the defaults.
func (v *validator) files(at string, c Component, arch string) {
	if len(c.Files) == 0 {
		if _, given := v.keyAt[at+".files"]; given || c.Source == SourceFile {
			v.filled(at+".files", 0, "file with its path and sha256")
			return
		}
		v.unpinned(at, c)
		return
	}
	for i, f := range c.Files {
		at := fmt.Sprintf("%s.files[%d]", at, i)
		if _, given := v.keyAt[at+".name"]; given && f.archive() {
			v.reportKey(at+".name", "an archive has no name: its programs have theirs")
		} else if f.Name != "" {
			v.match(at+".name", f.Name, programName, "the name of a program, such as runc")
		}
		if c.Source == SourceRelease {
			v.template(at+".url", f.URL)
		} else {
			v.absolute(at+".path", f.Path, "a file on the build host")
			v.placeholders(at+".path", f.Path)
		}
		for key, source := range map[string]SourceKind{"url": SourceRelease, "path": SourceFile} {
			if _, given := v.keyAt[at+"."+key]; given && c.Source != source {
				v.reportKey(at+"."+key, "source %s does not use this key: remove it", c.Source)
			}
		}
		v.digests(at, f.SHA256, arch)
	}
}

// unpinned says which versions of a component come with their sums.
func (v *validator) unpinned(at string, c Component) {
	name := strings.TrimPrefix(at, "components.")
	var known []string
	if releases, err := LoadReleases(); err == nil {
		known = sortedKeys(releases.Components[name].Versions)
		slices.SortStableFunc(known, compareVersions)
	}
	if len(known) == 0 {
		v.report(at+".files", "missing: expected the files of the release with their URLs and sums: none of %s come with nodeimage", name)
		return
	}
	v.report(at+".version", "found %s, whose sums do not come with nodeimage: expected %s, or its files with their URLs and sums", quote(c.Version), choice(known))
}

// digests wants one for the profile's own architecture; others may be there
// so that profiles for them can extend this one.
func (v *validator) digests(at string, digests map[string]string, arch string) {
	if slices.Contains(architecture, arch) && digests[arch] == "" {
		v.report(join(at+".sha256", arch), "missing: expected the sha256 of the file for %s", arch)
	}
	for _, key := range sortedKeys(digests) {
		path := join(at+".sha256", key)
		if !slices.Contains(architecture, key) {
			v.reportKey(path, "unknown architecture; expected %s", choice(architecture))
		}
		if digests[key] != "" {
			v.match(path, digests[key], sha256Hex, "64 lower-case hexadecimal digits")
		}
	}
}

// sums refuses two sums for one module version: at most one can be right.
func (v *validator) sums(p *Profile) {
	first := map[string]string{}
	for _, rule := range componentRules() {
		c := p.Components[rule.name]
		if c.Source != SourceGoModule || c.Sum == "" || c.Module == "" {
			continue
		}
		id := c.Module + "@" + c.GoModuleVersion()
		other, seen := first[id]
		if !seen {
			first[id] = rule.name
			continue
		}
		if p.Components[other].Sum != c.Sum {
			v.report(join("components", rule.name)+".sum", "found another sum for %s than %s has", id, join("components", other))
		}
	}
}

// GoModuleVersion is the version of the Go module that a gomod component is
// built from: ModuleVersion, or else "v" and Version.
func (c Component) GoModuleVersion() string {
	if c.ModuleVersion != "" {
		return c.ModuleVersion
	}
	return "v" + c.Version
}
