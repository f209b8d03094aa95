package attest

import (
	"net/url"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
)

// Package URLs as https://github.com/package-url/purl-spec writes them.

// purlSegment escapes one segment of a package URL's path, or its version.
func purlSegment(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// debPURL names a Debian package; distro is ID-VERSION_ID.
func debPURL(name, version, arch, distro string) string {
	vendor, _, _ := strings.Cut(distro, "-")
	if vendor == "" {
		vendor = "debian"
	}
	p := "pkg:deb/" + purlSegment(vendor) + "/" + purlSegment(name) + "@" + purlSegment(version)
	query := url.Values{}
	if arch != "" {
		query.Set("arch", arch)
	}
	if distro != "" {
		query.Set("distro", distro)
	}
	if len(query) > 0 {
		p += "?" + query.Encode()
	}
	return p
}

// goPURL names a Go module.
func goPURL(module, version string) string {
	parts := strings.Split(module, "/")
	for i := range parts {
		parts[i] = purlSegment(parts[i])
	}
	p := "pkg:golang/" + strings.Join(parts, "/")
	if version != "" {
		p += "@" + purlSegment(version)
	}
	return p
}

// containerPURL names a container image by digest.
func containerPURL(c manifest.Container) string {
	repository, tag := c.Name, ""
	if i := strings.LastIndexByte(c.Name, ':'); i > strings.LastIndexByte(c.Name, '/') {
		repository, tag = c.Name[:i], c.Name[i+1:]
	}
	base := repository[strings.LastIndexByte(repository, '/')+1:]
	query := url.Values{"repository_url": {repository}}
	if tag != "" {
		query.Set("tag", tag)
	}
	return "pkg:oci/" + purlSegment(strings.ToLower(base)) + "@" + purlSegment(c.Digest) + "?" + query.Encode()
}

// componentPURL names a pinned component, "" where its source has no type of
// package URL: a deb component is a set of packages, which stand for themselves.
func componentPURL(c manifest.Component) string {
	if c.Source != "gomod" {
		return ""
	}
	module, version, _ := strings.Cut(c.Module, "@")
	return goPURL(module, version)
}
