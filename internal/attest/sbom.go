package attest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/version"
)

// SBOMVersion is the version of CycloneDX that is written.
const SBOMVersion = cdx.SpecVersion1_6

// propertyPrefix is the name space of properties that are this tool's own.
const propertyPrefix = "nodeimage:"

// componentLicences are those that the components' own LICENSE files carry,
// as SPDX identifiers.
var componentLicences = map[string]string{
	"containerd": "Apache-2.0", "runc": "Apache-2.0", "cni-plugins": "Apache-2.0", "kubernetes": "Apache-2.0",
	"etcd": "Apache-2.0", "coredns": "Apache-2.0", "pause": "Apache-2.0", "control-plane": "Apache-2.0", "crictl": "Apache-2.0",
}

// bom collects components and what depends on what, each once.
type bom struct {
	components map[string]cdx.Component // by reference
	depends    map[string]map[string]bool
}

func (b *bom) add(c cdx.Component) string {
	if _, known := b.components[c.BOMRef]; !known {
		b.components[c.BOMRef] = c
	}
	return c.BOMRef
}

func (b *bom) link(from, to string) {
	if b.depends[from] == nil {
		b.depends[from] = map[string]bool{}
	}
	b.depends[from][to] = true
}

// sbom lists what is in an image: Debian packages, pinned components, the Go
// modules of every Go program, and container images. The same image at the
// same time gives the same bytes. m may be empty.
func sbom(s Subject, inv inventory, m manifest.Manifest, at time.Time) ([]byte, error) {
	b := &bom{map[string]cdx.Component{}, map[string]map[string]bool{}}
	image := cdx.Component{
		BOMRef: "image", Type: cdx.ComponentTypeOS, Name: s.Name, Version: inv.node.OS,
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: s.SHA256}},
	}
	b.debs(inv, m)
	b.pinned(m)
	b.goPrograms(inv)
	for _, c := range m.Containers {
		purl := containerPURL(c)
		b.link("image", b.add(cdx.Component{
			BOMRef: purl, Type: cdx.ComponentTypeContainer, Name: c.Name, Version: c.Digest, PackageURL: purl,
			Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: strings.TrimPrefix(c.Digest, "sha256:")}},
		}))
	}

	out := cdx.NewBOM()
	out.SerialNumber = serial(s.SHA256)
	out.Metadata = &cdx.Metadata{
		Timestamp: at.UTC().Format(time.RFC3339),
		Component: &image,
		Tools: &cdx.ToolsChoice{Components: &[]cdx.Component{{
			Type: cdx.ComponentTypeApplication, Name: "nodeimage", Version: version.String(),
		}}},
	}
	components := []cdx.Component{}
	for _, ref := range slices.Sorted(maps.Keys(b.components)) {
		components = append(components, b.components[ref])
	}
	dependencies := []cdx.Dependency{}
	for _, ref := range slices.Sorted(maps.Keys(b.depends)) {
		on := slices.Sorted(maps.Keys(b.depends[ref]))
		dependencies = append(dependencies, cdx.Dependency{Ref: ref, Dependencies: &on})
	}
	out.Components, out.Dependencies = &components, &dependencies
	var text bytes.Buffer
	if err := cdx.NewBOMEncoder(&text, cdx.BOMFileFormatJSON).EncodeVersion(out, SBOMVersion); err != nil {
		return nil, fmt.Errorf("rendering the SBOM: %w", err)
	}
	return text.Bytes(), nil
}

// serial is a UUID that is the image's own, in the form of version 8
// (RFC 9562), whose bits are free.
func serial(digest string) string {
	u := sha256.Sum256([]byte("nodeimage SBOM of sha256:" + digest))
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

func (b *bom) debs(inv inventory, m manifest.Manifest) {
	sums := map[string]string{}
	for _, p := range m.Packages {
		sums[p.Name+" "+p.Version+" "+p.Arch] = p.SHA256
	}
	for _, p := range inv.packages {
		purl := debPURL(p.Name, p.Version, p.Arch, inv.node.OS)
		c := cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: p.Name, Version: p.Version, PackageURL: purl}
		if sum := sums[p.Name+" "+p.Version+" "+p.Arch]; sum != "" {
			c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum}}
		}
		if p.Source != p.Name {
			c.Properties = &[]cdx.Property{{Name: propertyPrefix + "source-package", Value: p.Source}}
		}
		if len(p.licences) > 0 {
			var list cdx.Licenses
			for _, l := range p.licences {
				// Debian's short names are not all SPDX's, so they are names.
				list = append(list, cdx.LicenseChoice{License: &cdx.License{Name: l}})
			}
			c.Licenses = &list
		}
		b.link("image", b.add(c))
	}
}

func (b *bom) pinned(m manifest.Manifest) {
	for _, p := range m.Components {
		c := cdx.Component{
			BOMRef: "component/" + p.Name, Type: cdx.ComponentTypeApplication, Name: p.Name, Version: p.Version, PackageURL: componentPURL(p),
			Properties: &[]cdx.Property{{Name: propertyPrefix + "source", Value: p.Source}},
		}
		if sum, ok := strings.CutPrefix(p.Sum, "sha256:"); ok {
			c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum}}
		} else if p.Sum != "" {
			*c.Properties = append(*c.Properties, cdx.Property{Name: propertyPrefix + "sum", Value: p.Sum})
		}
		if id := componentLicences[p.Name]; id != "" {
			c.Licenses = &cdx.Licenses{{License: &cdx.License{ID: id}}}
		}
		b.link("image", b.add(c))
		for _, f := range p.Files {
			b.link(c.BOMRef, b.add(cdx.Component{
				BOMRef: "file" + f.Path, Type: cdx.ComponentTypeFile, Name: f.Path,
				Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: f.SHA256}},
			}))
		}
	}
}

// goPrograms adds each program with the modules that its build information
// names. A program may be a file of a component as well.
func (b *bom) goPrograms(inv inventory) {
	for _, p := range inv.programs {
		ref := "file" + p.path
		c, known := b.components[ref]
		if !known {
			c = cdx.Component{BOMRef: ref, Type: cdx.ComponentTypeFile, Name: p.path}
			b.link("image", ref)
		}
		c.Properties = &[]cdx.Property{
			{Name: propertyPrefix + "go-package", Value: p.main},
			{Name: propertyPrefix + "go-version", Value: p.goes},
		}
		b.components[ref] = c
		for _, m := range p.modules {
			purl := goPURL(m.path, m.version)
			module := cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: m.path, Version: m.version, PackageURL: purl}
			if m.sum != "" {
				module.Properties = &[]cdx.Property{{Name: propertyPrefix + "sum", Value: m.sum}}
			}
			b.link(ref, b.add(module))
		}
	}
}
