package attest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	provenance "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
)

// What provenance names as the build's type and builder; docs/gate.md says
// what the parameters mean. A builder on somebody's own machine can claim no
// more than the key that signs.
const (
	buildType = "https://github.com/nodeimage/packer-plugin-nodeimage/blob/main/docs/gate.md#build-type"
	builderID = "https://github.com/nodeimage/packer-plugin-nodeimage/blob/main/docs/gate.md#local-build"
)

// provenanceStatement says, in the shape of SLSA's provenance v1, what the
// image was built from, by its manifest. Packer 1.16's own post-processor
// fills the same fields in the same way for the build as Packer saw it.
func provenanceStatement(s Subject, m manifest.Manifest, manifestFile string, manifestSum string, distro string, at time.Time) (*intoto.Statement, error) {
	external, err := structpb.NewStruct(map[string]any{
		"profile": map[string]any{"name": m.Profile.Name, "sha256": m.Profile.SHA256},
	})
	if err != nil {
		return nil, fmt.Errorf("provenance: %w", err)
	}
	internal, err := structpb.NewStruct(map[string]any{"inputs": m.Inputs})
	if err != nil {
		return nil, fmt.Errorf("provenance: %w", err)
	}
	p := &provenance.Provenance{
		BuildDefinition: &provenance.BuildDefinition{
			BuildType: buildType, ExternalParameters: external, InternalParameters: internal,
		},
		RunDetails: &provenance.RunDetails{
			Builder: &provenance.Builder{Id: builderID, Version: map[string]string{m.Tool.Name: m.Tool.Version}},
			Byproducts: []*intoto.ResourceDescriptor{
				{Name: manifestFile, Digest: map[string]string{"sha256": manifestSum}, MediaType: "application/json"},
			},
		},
	}
	if m.Base != nil {
		p.BuildDefinition.ResolvedDependencies = append(p.BuildDefinition.ResolvedDependencies, &intoto.ResourceDescriptor{
			Name: "base", Uri: m.Base.URL, Digest: map[string]string{"sha256": m.Base.SHA256},
		})
	}
	for _, c := range m.Components {
		d := &intoto.ResourceDescriptor{Name: c.Name, Uri: cmp.Or(componentPURL(c), c.Module)}
		notes := map[string]any{"version": c.Version, "source": c.Source}
		if sum, ok := strings.CutPrefix(c.Sum, "sha256:"); ok && len(c.Downloads) < 2 {
			d.Digest = map[string]string{"sha256": sum}
		} else if c.Sum != "" {
			notes["sum"] = c.Sum
		}
		if c.Toolchain != "" {
			notes["toolchain"] = c.Toolchain
		}
		if d.Annotations, err = structpb.NewStruct(notes); err != nil {
			return nil, fmt.Errorf("provenance: component %s: %w", c.Name, err)
		}
		p.BuildDefinition.ResolvedDependencies = append(p.BuildDefinition.ResolvedDependencies, d)
		if len(c.Downloads) < 2 {
			continue // d is it
		}
		for _, file := range c.Downloads {
			p.BuildDefinition.ResolvedDependencies = append(p.BuildDefinition.ResolvedDependencies, &intoto.ResourceDescriptor{
				Name: c.Name, Uri: file.From, Digest: map[string]string{"sha256": file.SHA256},
			})
		}
	}
	for _, pkg := range m.Packages {
		d := &intoto.ResourceDescriptor{Uri: debPURL(pkg.Name, pkg.Version, pkg.Arch, distro)}
		if pkg.SHA256 != "" {
			d.Digest = map[string]string{"sha256": pkg.SHA256}
		}
		p.BuildDefinition.ResolvedDependencies = append(p.BuildDefinition.ResolvedDependencies, d)
	}
	for _, c := range m.Containers {
		p.BuildDefinition.ResolvedDependencies = append(p.BuildDefinition.ResolvedDependencies, &intoto.ResourceDescriptor{
			Name: c.Name, Uri: containerPURL(c), Digest: map[string]string{"sha256": strings.TrimPrefix(c.Digest, "sha256:")},
		})
	}
	slices.SortStableFunc(p.BuildDefinition.ResolvedDependencies, func(a, b *intoto.ResourceDescriptor) int { return strings.Compare(a.GetUri(), b.GetUri()) })
	predicate, err := marshal(p)
	if err != nil {
		return nil, err
	}
	return NewStatement(s, TypeProvenance, predicate, at)
}
