package registry

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// The types of what refers to an image. Bundles are as cosign stores and finds
// them (https://github.com/sigstore/cosign/blob/main/specs/BUNDLE_SPEC.md).
const (
	TypeBundle  = attest.BundleMediaType
	TypeSBOM    = "application/vnd.cyclonedx+json"
	TypeReport  = "application/vnd.nodeimage.report.v1"
	TypeVerdict = "application/vnd.nodeimage.gate-verdict.v1+json"
)

// The annotations that cosign looks at.
const (
	annotationContent   = "dev.sigstore.bundle.content"
	annotationPredicate = "dev.sigstore.bundle.predicateType"
)

// maxDocument bounds what refers to an image, in bytes.
const maxDocument = 64 << 20

// Document is something about an image that is published with it.
type Document struct {
	Name        string // base name of its file
	Type        string // artifact type
	MediaType   string
	Data        []byte
	Annotations map[string]string
}

// Statement is the document of a bundle. One of an SBOM brings the SBOM's own
// document with it, as it was signed.
func Statement(file string, data []byte) ([]Document, error) {
	b, err := attest.Parse(data)
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("bundle %s: %w", file, err))
	}
	predicate := b.Statement().GetPredicateType()
	documents := []Document{{file, TypeBundle, TypeBundle, data, map[string]string{
		annotationContent: "dsse-envelope", annotationPredicate: predicate,
	}}}
	if predicate == attest.TypeSBOM {
		text, err := json.MarshalIndent(b.Statement().GetPredicate().AsMap(), "", "  ")
		if err != nil {
			return nil, fmt.Errorf("bundle %s: %w", file, err)
		}
		base := strings.TrimSuffix(strings.TrimSuffix(file, attest.BundleSuffix), ".sbom")
		documents = append(documents, Document{base + attest.SBOMSuffix, TypeSBOM, TypeSBOM, append(text, '\n'), nil})
	}
	return documents, nil
}

// Verdict is the document of a gate's verdict.
func Verdict(data []byte) Document {
	return Document{"gate-verdict.json", TypeVerdict, TypeVerdict, data, nil}
}

// reportTypes are the media types of reports by the ends of their names.
var reportTypes = map[string]string{
	".json": "application/json", ".xml": "application/xml", ".zst": "application/zstd", ".txt": "text/plain",
	".log": "text/plain", ".md": "text/markdown", ".html": "text/html",
}

// Report reads a report about the image with a digest. One of a suite that
// says that it is about another image is refused. Errors are bad input.
func Report(path, sha256 string) (Document, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Document{}, exitcode.BadInput(fmt.Errorf("reading the report: %w", err))
	}
	if !info.Mode().IsRegular() || info.Size() > maxDocument {
		return Document{}, exitcode.BadInput(fmt.Errorf("report %s: expected a regular file of at most %d MiB", path, maxDocument>>20))
	}
	mediaType, ok := reportTypes[filepath.Ext(path)]
	if !ok {
		return Document{}, exitcode.BadInput(fmt.Errorf("report %s: expected a name that ends in .json, .xml, .zst, .txt, .log, .md or .html", path))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Document{}, exitcode.BadInput(fmt.Errorf("reading the report: %w", err))
	}
	var about struct {
		SHA256 string `json:"sha256"`
	}
	if mediaType == "application/json" {
		if err := json.Unmarshal(data, &about); err != nil {
			return Document{}, exitcode.BadInput(fmt.Errorf("report %s: it is no whole JSON document: %w", path, err))
		}
		if about.SHA256 != "" && about.SHA256 != sha256 {
			return Document{}, exitcode.BadInput(fmt.Errorf("report %s: it is about the image sha256:%.64s; this one is sha256:%s", path, about.SHA256, sha256))
		}
	}
	return Document{filepath.Base(path), TypeReport, mediaType, data, nil}, nil
}

// referrer is the manifest of a document about subject.
func (d Document) referrer(subject, blob ocispec.Descriptor) ocispec.Manifest {
	blob.Annotations = map[string]string{ocispec.AnnotationTitle: d.Name}
	return ocispec.Manifest{
		Versioned: schema2, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: d.Type,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{blob},
		Subject: &ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}, Annotations: d.Annotations,
	}
}
