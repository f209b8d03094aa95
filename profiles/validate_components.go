package profiles

import (
	"encoding/base64"
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
	image string
}

// componentRules lists every component; each is required.
var componentRules = []componentRule{
	{"containerd", true, ""},
	{"runc", true, ""},
	{"cni-plugins", true, ""},
	{"kubernetes", true, ""},
	{"etcd", true, "etcd"},
	{"coredns", true, "coredns/coredns"},
	{"pause", true, "pause"},
	{"kube-proxy-base", false, ""},
}

var (
	upstreamVersion = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))?(-[0-9A-Za-z]+(\.[0-9A-Za-z]+)*)?$`)
	debianVersion   = regexp.MustCompile(`^([0-9]+:)?[0-9][0-9A-Za-z.+~-]*$`)
	modulePath      = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+(/[A-Za-z0-9._~-]+)*$`)
	moduleVersion   = regexp.MustCompile(`^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+incompatible)?$`)
	moduleMajor     = regexp.MustCompile(`/v([0-9]+)$`)
	sha256Hex       = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func (v *validator) components(p *Profile) {
	var names []string
	for _, rule := range componentRules {
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
	for _, rule := range componentRules {
		at := join("components", rule.name)
		c, given := p.Components[rule.name]
		if !given {
			v.report(at, "missing: expected the component %s with its version and source", rule.name)
			continue
		}
		v.component(at, c, rule, p.OS.Arch)
	}
	v.sums(p)
	v.versions(p)
}

func (v *validator) component(at string, c Component, rule componentRule, arch string) {
	v.oneOf(at+".source", string(c.Source), []string{string(SourceGoModule), string(SourceDeb), string(SourceRelease), string(SourceFile)})
	v.version(at+".version", c, rule)
	used := map[string]bool{}
	switch c.Source {
	case SourceGoModule:
		used = map[string]bool{"module": true, "moduleVersion": true, "sum": true}
		v.goModule(at, c)
	case SourceDeb:
		used = map[string]bool{"packages": true}
		v.filled(at+".packages", len(c.Packages), "package")
		v.patternList(at+".packages", c.Packages, packageName, "the name of a package")
	case SourceRelease:
		used = map[string]bool{"url": true, "sha256": true}
		v.uri(at+".url", c.URL, "https", "http", "file")
		v.digests(at, c.SHA256, arch)
	case SourceFile:
		used = map[string]bool{"path": true, "sha256": true}
		v.absolute(at+".path", c.Path, "a file on the build host")
		v.digests(at, c.SHA256, arch)
	}
	if slices.Contains([]SourceKind{SourceGoModule, SourceDeb, SourceRelease, SourceFile}, c.Source) {
		for _, key := range []string{"module", "moduleVersion", "sum", "packages", "url", "path", "sha256"} {
			if _, given := v.keyAt[at+"."+key]; given && !used[key] {
				v.reportKey(at+"."+key, "source %s does not use this key: remove it", c.Source)
			}
		}
	}
	if rule.image != "" {
		v.match(at+".image", c.Image, regexp.MustCompile(`^`+regexp.QuoteMeta(rule.image)+`:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`),
			"the image that kubeadm asks for, without repository: "+rule.image+":TAG")
	} else if c.Image != "" {
		v.reportKey(at+".image", "this component is no image of its own: remove the key")
	}
}

func (v *validator) version(at string, c Component, rule componentRule) {
	switch {
	case c.Version == "" && !rule.versioned:
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
	for _, rule := range componentRules {
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
