package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/imagefile"
)

// Kind is the form in which an image is published.
type Kind string

// The kinds.
const (
	// Artifact is an OCI artifact. The disk itself is a blob of it, so that
	// the blob's digest is the one that the statements are about.
	Artifact Kind = "artifact"
	// ContainerDisk is a container image FROM scratch with the disk in /disk,
	// which KubeVirt boots.
	ContainerDisk Kind = "containerdisk"
)

// The types of an artifact and its blobs.
const (
	TypeArtifact = "application/vnd.nodeimage.image.v1"
	TypeQCOW2    = "application/vnd.nodeimage.disk.v1.qcow2"
	TypeRaw      = "application/vnd.nodeimage.disk.v1.raw"
	TypeManifest = "application/vnd.nodeimage.manifest.v1+json"
)

// The annotations of a published image.
const (
	annotationDisk    = "dev.nodeimage.disk.sha256"
	annotationProfile = "dev.nodeimage.profile"
	annotationArch    = "dev.nodeimage.architecture"
)

var schema2 = specs.Versioned{SchemaVersion: 2}

// Publication says what is published.
type Publication struct {
	Image *imagefile.Image
	Kind  Kind
	// Arch is Go's name of the image's architecture; "" takes the one of the
	// packages in the image's manifest.
	Arch      string
	Documents []Document
}

// Pushed is what is in the registry now.
type Pushed struct {
	Reference string     `json:"reference"` // with the tag
	Name      string     `json:"name"`      // with the digest
	Digest    string     `json:"digest"`    // of the OCI manifest
	Kind      Kind       `json:"kind"`
	SHA256    string     `json:"sha256"` // of the disk
	Referrers []Referrer `json:"referrers"`
}

// Referrer is a document about the image in the registry.
type Referrer struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Digest string `json:"digest"`
}

// Push publishes an image. Blobs and documents go first and the tag last, so
// that the tag never leads to half of it. The same image and documents give
// the same digests; what is there already is not sent again. After an error
// the tag leads where it led before.
func (r *Repository) Push(ctx context.Context, p Publication) (Pushed, error) {
	if err := r.ref.ValidateReferenceAsTag(); err != nil {
		return Pushed{}, exitcode.BadInput(fmt.Errorf("reference %s: expected a tag to push to: %w", r.ref, err))
	}
	text, m, err := p.Image.Manifest()
	if err != nil {
		return Pushed{}, exitcode.BadInput(err)
	}
	if p.Arch == "" {
		for _, pkg := range m.Packages {
			if pkg.Name == "dpkg" {
				p.Arch = pkg.Arch // Debian's names are Go's for what is supported
			}
		}
	}
	if p.Arch == "" && p.Kind == ContainerDisk {
		return Pushed{}, exitcode.BadInput(fmt.Errorf("image %s has no manifest that tells its architecture: say it with --arch", p.Image.Path))
	}
	annotations := map[string]string{ocispec.AnnotationTitle: filepath.Base(p.Image.Path), annotationDisk: p.Image.SHA256}
	for key, value := range map[string]string{annotationProfile: m.Profile.Name, annotationArch: p.Arch} {
		if value != "" {
			annotations[key] = value
		}
	}
	var manifest ocispec.Manifest
	switch p.Kind {
	case Artifact:
		manifest, err = r.sendArtifact(ctx, p, text)
	case ContainerDisk:
		manifest, err = r.sendContainerDisk(ctx, p)
	default:
		err = exitcode.BadInput(fmt.Errorf("kind %q: expected %s or %s", p.Kind, Artifact, ContainerDisk))
	}
	if err != nil {
		return Pushed{}, err
	}
	manifest.Annotations = annotations
	subject, data, err := r.sendManifest(ctx, "the image's manifest", manifest)
	if err != nil {
		return Pushed{}, err
	}
	pushed := Pushed{
		Reference: r.ref.String(), Name: r.name(subject.Digest.String()), Digest: subject.Digest.String(),
		Kind: p.Kind, SHA256: p.Image.SHA256, Referrers: []Referrer{},
	}
	for _, d := range p.Documents {
		referrer, err := r.sendDocument(ctx, d, subject)
		if err != nil {
			return Pushed{}, err
		}
		pushed.Referrers = append(pushed.Referrers, Referrer{d.Name, d.Type, referrer.Digest.String()})
	}
	ctx = r.scoped(ctx, auth.ActionPull, auth.ActionPush)
	if err := r.oras.Manifests().PushReference(ctx, subject, bytes.NewReader(data), r.ref.Reference); err != nil {
		return Pushed{}, r.explain(ctx, "tagging "+r.ref.String(), err)
	}
	// What others get by the tag is what was meant.
	got, err := r.oras.Resolve(ctx, r.ref.Reference)
	if err != nil {
		return Pushed{}, r.explain(ctx, "reading back "+r.ref.String(), err)
	}
	if got.Digest != subject.Digest || got.Size != subject.Size {
		return Pushed{}, exitcode.Transient(fmt.Errorf("%s leads to %s of %d bytes: expected %s of %d: someone else tags it at the same time", r.ref, got.Digest, got.Size, subject.Digest, subject.Size))
	}
	return pushed, nil
}

func (r *Repository) sendArtifact(ctx context.Context, p Publication, text []byte) (ocispec.Manifest, error) {
	name := filepath.Base(p.Image.Path)
	disk := ocispec.Descriptor{MediaType: TypeRaw, Digest: digest.NewDigestFromEncoded(digest.SHA256, p.Image.SHA256), Size: p.Image.Size}
	if p.Image.Format == imagefile.QCOW2 {
		disk.MediaType = TypeQCOW2
	}
	if err := r.send(ctx, name, disk, p.Image); err != nil {
		return ocispec.Manifest{}, err
	}
	disk.Annotations = map[string]string{ocispec.AnnotationTitle: name}
	m := ocispec.Manifest{
		Versioned: schema2, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: TypeArtifact,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{disk},
	}
	if _, err := r.sendBytes(ctx, "the empty configuration", ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Data); err != nil {
		return m, err
	}
	if text != nil {
		blob, err := r.sendBytes(ctx, "the image's own manifest", TypeManifest, text)
		if err != nil {
			return m, err
		}
		blob.Annotations = map[string]string{ocispec.AnnotationTitle: manifestName(name)}
		m.Layers = append(m.Layers, blob)
	}
	return m, nil
}

func (r *Repository) sendContainerDisk(ctx context.Context, p Publication) (ocispec.Manifest, error) {
	name := filepath.Base(p.Image.Path)
	layer, blob, err := wrap(ctx, name, p.Image)
	if err != nil {
		return ocispec.Manifest{}, err
	}
	if err := r.send(ctx, name+" as a containerDisk", blob, layer); err != nil {
		return ocispec.Manifest{}, err
	}
	config, err := json.Marshal(ocispec.Image{
		Platform: ocispec.Platform{Architecture: p.Arch, OS: "linux"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{blob.Digest}},
	})
	if err != nil {
		return ocispec.Manifest{}, fmt.Errorf("rendering the configuration: %w", err)
	}
	described, err := r.sendBytes(ctx, "the configuration", ocispec.MediaTypeImageConfig, config)
	return ocispec.Manifest{
		Versioned: schema2, MediaType: ocispec.MediaTypeImageManifest,
		Config: described, Layers: []ocispec.Descriptor{blob},
	}, err
}

// sendManifest puts a manifest under its digest, without a tag.
func (r *Repository) sendManifest(ctx context.Context, what string, m ocispec.Manifest) (ocispec.Descriptor, []byte, error) {
	data, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("rendering %s: %w", what, err)
	}
	d := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	ctx = r.scoped(ctx, auth.ActionPull, auth.ActionPush)
	return d, data, r.explain(ctx, fmt.Sprintf("pushing %s to %s/%s", what, r.ref.Registry, r.ref.Repository), r.oras.Manifests().Push(ctx, d, bytes.NewReader(data)))
}

func (r *Repository) sendDocument(ctx context.Context, d Document, subject ocispec.Descriptor) (ocispec.Descriptor, error) {
	if !slices.Contains([]string{TypeBundle, TypeSBOM, TypeReport, TypeVerdict}, d.Type) || !fileName.MatchString(d.Name) {
		return ocispec.Descriptor{}, exitcode.BadInput(fmt.Errorf("document %q of type %q: expected a plain name and a known type", d.Name, d.Type))
	}
	if _, err := r.sendBytes(ctx, "the empty configuration", ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Data); err != nil {
		return ocispec.Descriptor{}, err
	}
	blob, err := r.sendBytes(ctx, d.Name, d.MediaType, d.Data)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	referrer, _, err := r.sendManifest(ctx, d.Name, d.referrer(subject, blob))
	return referrer, err
}
