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
		folder, ok := folders[d.ArtifactType]
		if !ok {
			p.Notes = append(p.Notes, fmt.Sprintf("left %s, of type %.100q, in the registry", d.Digest, d.ArtifactType))
			continue
		}
		name, blob, err := r.referrer(ctx, d, subject)
		if err != nil {
			return err
		}
		if total += blob.Size; total > maxTotal {
			return exitcode.BadInput(fmt.Errorf("%s: more than %d MiB", doing, maxTotal>>20))
		}
		data, err := r.bytes(ctx, "document "+d.Digest.String(), blob)
		if err != nil {
			return err
		}
		if d.ArtifactType == TypeBundle && !strings.HasSuffix(name, attest.BundleSuffix) {
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

// referrer reads the manifest of a document.
func (r *Repository) referrer(ctx context.Context, d, subject ocispec.Descriptor) (name string, blob ocispec.Descriptor, err error) {
	what := "document " + d.Digest.String()
	doing := "pulling " + what + " of " + r.ref.String()
	refuse := func(format string, args ...any) (string, ocispec.Descriptor, error) {
		return "", blob, exitcode.BadInput(fmt.Errorf("%s: "+format, append([]any{doing}, args...)...))
	}
	if d.MediaType != ocispec.MediaTypeImageManifest || d.Size > maxMetadata {
		return refuse("it is a %.100q of %d bytes: expected %s of at most %d", d.MediaType, d.Size, ocispec.MediaTypeImageManifest, maxMetadata)
	}
	body, err := r.oras.Manifests().Fetch(ctx, d)
	if err != nil {
		return "", blob, r.explain(ctx, doing, err)
	}
	defer body.Close()
	data, err := content.ReadAll(body, d) // holds it to its digest
	if err != nil {
		return "", blob, r.explain(ctx, doing, err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return refuse("its manifest cannot be read: %w", err)
	}
	// An index of the tag schema is anybody's word; the manifest says what it
	// is about.
	if m.Subject == nil || m.Subject.Digest != subject.Digest {
		return refuse("it is not about %s", subject.Digest)
	}
	if len(m.Layers) != 1 {
		return refuse("it has %d blobs: expected one", len(m.Layers))
	}
	blob = m.Layers[0]
	name = blob.Annotations[ocispec.AnnotationTitle]
	if !fileName.MatchString(name) {
		name = d.Digest.Encoded()[:12] // cosign gives none
	}
	return name, blob, nil
}
