package attest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	intoto "github.com/in-toto/attestation/go/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// SBOMSuffix ends the name of the SBOM's own file.
const SBOMSuffix = ".cdx.json"

// Options says what is attested about which image.
type Options struct {
	Image string
	// Validate and E2E are the reports of the suites, "" for none.
	Validate, E2E string
	// Manifest is the image's; "" takes the one beside the image, if any.
	Manifest string
	// Cell is the ID of the matrix cell that the reports are of, "" for none.
	Cell string
	Key  *PrivateKey
	// OutputDir gets one bundle a statement, and the SBOM.
	OutputDir string
	Now       time.Time
}

// Result is what was written.
type Result struct {
	Image  string   `json:"image"`
	SHA256 string   `json:"sha256"`
	Key    string   `json:"key"` // the public key's fingerprint
	Files  []string `json:"files"`
	Notes  []string `json:"notes,omitempty"` // what was left out, and why
}

// Run makes the statements about an image and signs them: a test result for
// each report, provenance if there is a manifest, and an SBOM. A report or a
// manifest about another image is refused, with every other problem, and then
// nothing is written. Such errors are bad input.
func Run(ctx context.Context, o Options) (result Result, err error) {
	t, err := target.Open(ctx, o.Image)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	inv, err := look(ctx, t.Root())
	if err != nil {
		return Result{}, fmt.Errorf("looking into %s: %w", o.Image, err)
	}
	// After the last read, so that it covers what was read.
	digest, err := t.Digest(ctx)
	if err != nil {
		return Result{}, err
	}
	if digest == "" {
		return Result{}, exitcode.BadInput(fmt.Errorf("%s: expected an image file without backing file, whose digest stands for its content", o.Image))
	}
	in, err := o.read(digest)
	if err != nil {
		return Result{}, exitcode.BadInput(err)
	}
	subject := Subject{filepath.Base(o.Image), digest}
	result = Result{Image: o.Image, SHA256: digest, Key: o.Key.Public().Fingerprint()}
	files, err := in.files(ctx, o, subject, inv)
	if err != nil {
		return Result{}, err
	}
	if in.manifest.Schema == "" {
		result.Notes = append(result.Notes, "no provenance and no pins: there is no manifest beside the image")
	}
	if err := os.MkdirAll(o.OutputDir, 0o755); err != nil {
		return Result{}, exitcode.BadInput(fmt.Errorf("making the output directory: %w", err))
	}
	for _, f := range files {
		path := filepath.Join(o.OutputDir, f.name)
		if err := renameio.WriteFile(path, f.data, 0o644); err != nil {
			return Result{}, exitcode.Transient(fmt.Errorf("writing the attestation: %w", err))
		}
		result.Files = append(result.Files, path)
	}
	return result, nil
}

// inputs is what is attested beside the image itself.
type inputs struct {
	results      []TestResult
	manifest     manifest.Manifest // empty without one
	manifestFile string
	manifestSum  string
}

// read reads reports and manifest, and reports all that is wrong with them.
func (o Options) read(digest string) (in inputs, err error) {
	var problems []error
	for _, report := range []struct {
		path string
		read func([]byte) (TestResult, string, error)
	}{{o.Validate, readValidate}, {o.E2E, readE2E}} {
		if report.path == "" {
			continue
		}
		data, err := readFile(report.path, maxReport)
		if err != nil {
			problems = append(problems, fmt.Errorf("reading the report: %w", err))
			continue
		}
		t, about, err := report.read(data)
		if err != nil {
			problems = append(problems, fmt.Errorf("report %s: %w", report.path, err))
		}
		if about != "" && about != digest {
			problems = append(problems, fmt.Errorf("report %s: it is about the image sha256:%.64s; this one is sha256:%s", report.path, about, digest))
		}
		if about == "" && err == nil {
			problems = append(problems, fmt.Errorf("report %s: it does not say which image it is about (sha256 is missing)", report.path))
		}
		if t.Finished.After(o.Now.Add(MaxSkew)) {
			problems = append(problems, fmt.Errorf("report %s: it is from %s, and this machine's clock says %s", report.path, t.Finished.Format(time.RFC3339), o.Now.UTC().Format(time.RFC3339)))
		}
		in.results = append(in.results, t)
	}
	if o.Cell != "" && !cellID.MatchString(o.Cell) {
		problems = append(problems, fmt.Errorf("cell %.100q: expected the ID of a matrix cell, 64 hexadecimal digits", o.Cell))
	}
	if err := in.readManifest(o, digest); err != nil {
		problems = append(problems, err)
	}
	for _, t := range in.results {
		if t.ProfileSHA256 != "" && in.manifest.Profile.SHA256 != "" && t.ProfileSHA256 != in.manifest.Profile.SHA256 {
			problems = append(problems, fmt.Errorf("the report of %s is against profile %s (sha256 %.64s); the image was built from %s (sha256 %.64s)",
				t.Suite, t.Profile, t.ProfileSHA256, in.manifest.Profile.Name, in.manifest.Profile.SHA256))
		}
	}
	return in, errors.Join(problems...)
}

var cellID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// MaxSkew is how far the clocks of two machines may differ at most.
const MaxSkew = 15 * time.Minute

func (in *inputs) readManifest(o Options, digest string) error {
	path := o.Manifest
	if path == "" {
		path = manifest.PathOf(o.Image)
	}
	data, err := readFile(path, maxReport)
	if errors.Is(err, os.ErrNotExist) && o.Manifest == "" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	if err := ReadManifest(data, digest, &in.manifest); err != nil {
		return fmt.Errorf("manifest %s: %w", path, err)
	}
	in.manifestFile, in.manifestSum = filepath.Base(path), hexSum(data)
	return nil
}

// ReadManifest reads a manifest that must describe the image with a digest.
func ReadManifest(data []byte, digest string, m *manifest.Manifest) error {
	if err := json.Unmarshal(data, m); err != nil {
		return fmt.Errorf("it is no whole JSON document: %w", err)
	}
	if m.Schema != manifest.SchemaVersion {
		return fmt.Errorf("schema is %.100q: expected %s", m.Schema, manifest.SchemaVersion)
	}
	for _, image := range m.Images {
		if image.SHA256 == digest {
			return nil
		}
	}
	return fmt.Errorf("it does not list the image sha256:%s", digest)
}

type outputFile struct {
	name string
	data []byte
}

// files makes everything that is to be written, before anything is.
func (in inputs) files(ctx context.Context, o Options, s Subject, inv inventory) ([]outputFile, error) {
	base := strings.TrimSuffix(s.Name, filepath.Ext(s.Name))
	var files []outputFile
	add := func(kind string, statement *intoto.Statement, err error) error {
		if err != nil {
			return err
		}
		data, err := Seal(ctx, statement, o.Key)
		if err != nil {
			return err
		}
		files = append(files, outputFile{base + "." + kind + BundleSuffix, data})
		return nil
	}
	node := inv.node
	node.Pins = map[string]string{}
	for _, c := range in.manifest.Components {
		node.Pins[c.Name] = c.Version
	}
	for _, t := range in.results {
		t.Node, t.Cell = node, o.Cell
		statement, err := t.Statement(s, o.Now)
		if err := add(t.Suite, statement, err); err != nil {
			return nil, err
		}
	}
	if in.manifest.Schema != "" {
		statement, err := provenanceStatement(s, in.manifest, in.manifestFile, in.manifestSum, inv.node.OS, o.Now)
		if err := add("provenance", statement, err); err != nil {
			return nil, err
		}
	}
	bill, err := sbom(s, inv, in.manifest, o.Now)
	if err != nil {
		return nil, err
	}
	statement, err := NewStatement(s, TypeSBOM, bill, o.Now)
	if err := add("sbom", statement, err); err != nil {
		return nil, err
	}
	return append(files, outputFile{base + SBOMSuffix, bill}), nil
}
