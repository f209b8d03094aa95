package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// Anybody who may push to the repository can refer to an image.
const (
	maxReferrers = 1000
	maxTotal     = 512 << 20 // bytes of all documents
)

// documents gets what refers to the image. Types that are not ours are noted
// and left.
func (r *Repository) documents(ctx context.Context, subject ocispec.Descriptor, work string, p *Pulled) error {
	doing := "listing what refers to " + r.name(subject.Digest.String())
	var found []ocispec.Descriptor
	err := r.oras.Referrers(ctx, subject, "", func(page []ocispec.Descriptor) error {
		found = append(found, page...)
		if len(found) > maxReferrers {
			return exitcode.BadInput(fmt.Errorf("more than %d documents", maxReferrers))
		}
		return nil
	})
	if err != nil {
		return r.explain(ctx, doing, err)
	}
	// In an order that is the same for the same documents.
	slices.SortFunc(found, func(a, b ocispec.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	total := int64(0)
	for _, d := range found {
		m, err := r.referrer(ctx, d, subject)
		if err != nil {
			return err
		}
		folder, ok := folders[m.ArtifactType]
		if !ok {
			p.Notes = append(p.Notes, fmt.Sprintf("left %s, of type %.100q, in the registry", d.Digest, m.ArtifactType))
			continue
		}
		if len(m.Layers) != 1 {
			return exitcode.BadInput(fmt.Errorf("document %s of %s: it has %d blobs: expected one", d.Digest, r.ref, len(m.Layers)))
		}
		blob := m.Layers[0]
		name := blob.Annotations[ocispec.AnnotationTitle]
		if !fileName.MatchString(name) {
			name = d.Digest.Encoded()[:12] // cosign gives none
		}
		if total += blob.Size; total > maxTotal {
			return exitcode.BadInput(fmt.Errorf("%s: more than %d MiB", doing, maxTotal>>20))
		}
		data, err := r.bytes(ctx, "document "+d.Digest.String(), blob)
		if err != nil {
			return err
		}
		if m.ArtifactType == TypeBundle && !strings.HasSuffix(name, attest.BundleSuffix) {
			name += attest.BundleSuffix // the gate reads nothing else
		}
		if err := keep(work, filepath.Join(folder, name), data, p); err != nil {
			return err
		}
	}
	return nil
}

// folders is where documents go by their types.
var folders = map[string]string{TypeBundle: attestationsDir, TypeSBOM: attestationsDir, TypeReport: reportsDir, TypeVerdict: "."}

// referrer reads the manifest of a document. Only it says what the document is
// and is about: a list of referrers is anybody's word, and some registries put
// the configuration's type into it.
func (r *Repository) referrer(ctx context.Context, d, subject ocispec.Descriptor) (m ocispec.Manifest, err error) {
	doing := fmt.Sprintf("pulling document %s of %s", d.Digest, r.ref)
	if d.MediaType != ocispec.MediaTypeImageManifest || d.Size > maxMetadata || d.Digest.Validate() != nil {
		return m, exitcode.BadInput(fmt.Errorf("%s: it is a %.100q of %d bytes: expected %s of at most %d", doing, d.MediaType, d.Size, ocispec.MediaTypeImageManifest, maxMetadata))
	}
	body, err := r.oras.Manifests().Fetch(ctx, d)
	if err != nil {
		return m, r.explain(ctx, doing, err)
	}
	defer body.Close()
	data, err := content.ReadAll(body, d) // holds it to its digest
	if err != nil {
		return m, r.explain(ctx, doing, err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, exitcode.BadInput(fmt.Errorf("%s: its manifest cannot be read: %w", doing, err))
	}
	if m.Subject == nil || m.Subject.Digest != subject.Digest {
		return m, exitcode.BadInput(fmt.Errorf("%s: it is not about %s", doing, subject.Digest))
	}
	return m, nil
}
