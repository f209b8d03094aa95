package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/imagefile"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
)

// fileName is what a file may be called. A registry's word becomes a name on
// this machine's disk.
var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,199}$`)

// maxDisk bounds an image, in bytes.
const maxDisk = 1 << 40

// The folders beside a pulled image.
const (
	attestationsDir = "attestations"
	reportsDir      = "reports"
	partsDir        = ".nodeimage-parts"
)

func manifestName(image string) string { return filepath.Base(manifest.PathOf(image)) }

// Pulled is what is on this machine now.
type Pulled struct {
	Name   string   `json:"name"` // in the registry, with the digest
	Kind   Kind     `json:"kind"`
	SHA256 string   `json:"sha256"` // of the disk
	Path   string   `json:"path"`   // of the folder
	Image  string   `json:"image"`  // path of the image
	Files  []string `json:"files"`  // the others, below Path
	Notes  []string `json:"notes,omitempty"`
	// Already says that the folder was there before, with this image.
	Already bool `json:"already,omitempty"`
}

// Pull gets an image and what refers to it into the folder
// DIR/<image>-<first digits of its digest>, which appears whole, by rename:
// the image, its manifest, attestations/ with bundles and SBOM, and reports/.
// A pull that was cut off goes on where it ended. Everything has the digest
// that it was asked for by; whether the image may be used, the gate says.
func (r *Repository) Pull(ctx context.Context, dir string) (p Pulled, err error) {
	ctx = r.scoped(ctx, auth.ActionPull)
	m, subject, err := r.image(ctx)
	if err != nil {
		return Pulled{}, err
	}
	disk, kind, err := theDisk(m)
	if err != nil {
		return Pulled{}, exitcode.BadInput(fmt.Errorf("%s: %w", r.ref, err))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Pulled{}, exitcode.BadInput(fmt.Errorf("making the folder: %w", err))
	}
	work, err := os.MkdirTemp(dir, ".nodeimage-pull-")
	if err != nil {
		return Pulled{}, exitcode.BadInput(fmt.Errorf("making the folder: %w", err))
	}
	// After the rename there is nothing of that name.
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	p = Pulled{Name: r.name(subject.Digest.String()), Kind: kind, Files: []string{}}
	parts := filepath.Join(dir, partsDir)
	name, err := r.disk(ctx, m, disk, kind, parts, work, &p)
	if err != nil {
		return Pulled{}, err
	}
	// Parts of other images stay.
	_ = os.Remove(parts)
	if err := r.beside(ctx, m, subject, name, work, &p); err != nil {
		return Pulled{}, err
	}
	p.Path = filepath.Join(dir, strings.TrimSuffix(name, filepath.Ext(name))+"-"+p.SHA256[:12])
	p.Image = filepath.Join(p.Path, name)
	if _, err := os.Lstat(p.Path); err == nil {
		img, err := imagefile.Open(ctx, p.Image)
		if err == nil {
			defer img.Close()
		}
		if err != nil || img.SHA256 != p.SHA256 {
			return Pulled{}, exitcode.BadInput(fmt.Errorf("%s is there already and does not hold the image sha256:%s: remove it first", p.Path, p.SHA256))
		}
		p.Already, p.Files = true, []string{}
		return p, nil
	}
	if err := errors.Join(os.Chmod(work, 0o755), os.Rename(work, p.Path)); err != nil {
		return Pulled{}, exitcode.Transient(fmt.Errorf("keeping the image: %w", err))
	}
	return p, nil
}

// image reads the manifest that the reference leads to.
func (r *Repository) image(ctx context.Context) (m ocispec.Manifest, d ocispec.Descriptor, err error) {
	doing := "pulling " + r.ref.String()
	d, body, err := r.oras.FetchReference(ctx, r.ref.Reference)
	if err != nil {
		return m, d, r.explain(ctx, doing, err)
	}
	defer body.Close()
	if d.Size > maxMetadata {
		return m, d, exitcode.BadInput(fmt.Errorf("%s: its manifest has %d bytes: expected at most %d", doing, d.Size, maxMetadata))
	}
	data, err := content.ReadAll(body, d) // holds it to its digest
	if err != nil {
		return m, d, r.explain(ctx, doing, err)
	}
	if d.MediaType != ocispec.MediaTypeImageManifest {
		return m, d, exitcode.BadInput(fmt.Errorf("%s: it is a %.100q: expected %s; of an index, name one image by its digest", doing, d.MediaType, ocispec.MediaTypeImageManifest))
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, d, exitcode.BadInput(fmt.Errorf("%s: its manifest cannot be read: %w", doing, err))
	}
	return m, d, nil
}

// theDisk finds the blob that is, or holds, the disk.
func theDisk(m ocispec.Manifest) (ocispec.Descriptor, Kind, error) {
	var found []ocispec.Descriptor
	kind := Artifact
	switch {
	case m.ArtifactType == TypeArtifact:
		for _, l := range m.Layers {
			if l.MediaType == TypeQCOW2 || l.MediaType == TypeRaw {
				found = append(found, l)
			}
		}
	case m.Config.MediaType == ocispec.MediaTypeImageConfig:
		kind, found = ContainerDisk, m.Layers
		for _, l := range m.Layers {
			if l.MediaType != ocispec.MediaTypeImageLayer {
				return ocispec.Descriptor{}, "", fmt.Errorf("its layer is a %.100q: expected %s, as 'nodeimage push' makes it", l.MediaType, ocispec.MediaTypeImageLayer)
			}
		}
	default:
		return ocispec.Descriptor{}, "", fmt.Errorf("it is an artifact of type %.100q with a configuration of type %.100q: expected an image that 'nodeimage push' published", m.ArtifactType, m.Config.MediaType)
	}
	if len(found) != 1 {
		return ocispec.Descriptor{}, "", fmt.Errorf("it has %d blobs that may be the disk: expected one", len(found))
	}
	d := found[0]
	if d.Digest.Algorithm() != "sha256" || d.Digest.Validate() != nil || d.Size <= 0 || d.Size > maxDisk {
		return d, "", fmt.Errorf("its disk has the digest %.100q and %d bytes: expected a sha256 and at most %d bytes", d.Digest, d.Size, int64(maxDisk))
	}
	return d, kind, nil
}

// disk gets the disk into work and returns the name of its file.
func (r *Repository) disk(ctx context.Context, m ocispec.Manifest, blob ocispec.Descriptor, kind Kind, parts, work string, p *Pulled) (string, error) {
	name := blob.Annotations[ocispec.AnnotationTitle]
	if kind == ContainerDisk {
		name = m.Annotations[ocispec.AnnotationTitle]
	}
	if !fileName.MatchString(name) {
		return "", exitcode.BadInput(fmt.Errorf("%s: its disk is called %.200q: expected a plain file name", r.ref, name))
	}
	file := filepath.Join(work, name)
	if kind == ContainerDisk {
		file = filepath.Join(work, ".layer")
	}
	client := fetch.New(fetch.Options{Dir: parts, Progress: r.Progress, Logf: r.Logf, Transport: sender{r.raw}})
	if err := client.Get(ctx, fetch.File{What: name, URL: r.address("blobs", blob.Digest.String()), SHA256: blob.Digest.Encoded(), Size: blob.Size}, file); err != nil {
		return "", err
	}
	p.SHA256 = blob.Digest.Encoded()
	if kind == ContainerDisk {
		sum, err := unwrap(ctx, file, filepath.Join(work, name), name)
		if err != nil {
			return "", exitcode.BadInput(fmt.Errorf("%s: %w", r.ref, err))
		}
		if err := os.Remove(file); err != nil {
			return "", exitcode.Transient(err)
		}
		p.SHA256 = sum
	}
	if want := m.Annotations[annotationDisk]; want != "" && want != p.SHA256 {
		return "", exitcode.BadInput(fmt.Errorf("%s: its disk has sha256:%s and is said to have sha256:%.64s", r.ref, p.SHA256, want))
	}
	return name, nil
}

// sender sends requests as the registry wants them; redirects are followed by
// the one who asks, who judges them.
type sender struct{ *auth.Client }

func (s sender) RoundTrip(request *http.Request) (*http.Response, error) {
	client := *s.Client
	plain := *client.Client
	plain.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Client = &plain
	return client.Do(request)
}

// beside gets what stands beside the image: its manifest and what refers to it.
func (r *Repository) beside(ctx context.Context, m ocispec.Manifest, subject ocispec.Descriptor, name, work string, p *Pulled) error {
	for _, l := range m.Layers {
		if m.ArtifactType != TypeArtifact || l.MediaType != TypeManifest {
			continue
		}
		data, err := r.bytes(ctx, "the image's own manifest", l)
		if err != nil {
			return err
		}
		if err := keep(work, manifestName(name), data, p); err != nil {
			return err
		}
	}
	return r.documents(ctx, subject, work, p)
}

// bytes reads a small blob.
func (r *Repository) bytes(ctx context.Context, what string, d ocispec.Descriptor) ([]byte, error) {
	doing := "pulling " + what + " of " + r.ref.String()
	if d.Size < 0 || d.Size > maxDocument {
		return nil, exitcode.BadInput(fmt.Errorf("%s: it has %d bytes: expected at most %d", doing, d.Size, maxDocument))
	}
	body, err := r.oras.Blobs().Fetch(ctx, d)
	if err != nil {
		return nil, r.explain(ctx, doing, err)
	}
	defer body.Close()
	data, err := content.ReadAll(body, d) // holds it to its digest
	return data, r.explain(ctx, doing, err)
}

// keep writes a file below work. One that is there is not overwritten: the
// second gets a name that begins with its digest.
func keep(work, name string, data []byte, p *Pulled) error {
	path := filepath.Join(work, name)
	if _, err := os.Lstat(path); err == nil {
		sum := sha256.Sum256(data)
		name = filepath.Join(filepath.Dir(name), hex.EncodeToString(sum[:6])+"-"+filepath.Base(name))
		path = filepath.Join(work, name)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return exitcode.Transient(fmt.Errorf("keeping %s: %w", name, err))
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return exitcode.Transient(fmt.Errorf("keeping %s: %w", name, err))
	}
	p.Files = append(p.Files, name)
	return nil
}
