package component

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/oci"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/registry"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

const (
	// registryFormat changes when the same image gives another tar.
	registryFormat = "registry/1"
	// What an image may have: none of kubeadm's comes near.
	maxManifest = 4 << 20 // bytes; also what registries accept
	maxImage    = 2 << 30 // bytes of all blobs
	maxLayers   = 128
)

// pulledImage is one of kubeadm's images, from a registry.
type pulledImage struct {
	maker     *Maker
	name      string
	component profiles.Component
	image     string // its full name
}

func (m *Maker) newPulledImage(component string, c profiles.Component) (source, error) {
	images, err := profiles.KubeadmImages(m.profile)
	if err != nil {
		return nil, err
	}
	for _, image := range images {
		if programOf(image) == component {
			return &pulledImage{m, component, c, image}, nil
		}
	}
	return nil, exitcode.BadInput(fmt.Errorf("component %s: source %q is for kubeadm's images: expected one of %s", component, c.Source, strings.Join(images, ", ")))
}

func (p *pulledImage) keyParts(context.Context) ([]any, error) {
	return []any{registryFormat, p.image, p.component.Digest, p.maker.profile.OS.Arch}, nil
}

// make pulls the image into an OCI layout tar beside the record that Images
// reads. Everything is addressed by its sum, from the pinned digest down.
func (p *pulledImage) make(ctx context.Context, dir string) (manifest.Component, error) {
	record := manifest.Component{Name: p.name, Version: p.component.Version, Source: string(profiles.SourceRegistry), Module: p.image, Sum: p.component.Digest}
	work := filepath.Join(dir, ".work")
	if err := os.Mkdir(work, 0o755); err != nil {
		return record, err
	}
	r, err := p.maker.openRepository(p.image, work)
	if err != nil {
		return record, err
	}
	written, err := r.pull(ctx, p.image, p.component.Digest, p.maker.profile.OS.Arch, filepath.Join(dir, filesDir, imageTar))
	if err != nil {
		return record, err
	}
	text, err := json.Marshal(written)
	if err != nil {
		return record, err
	}
	return record, errors.Join(os.WriteFile(filepath.Join(dir, imageRecord), text, 0o644), os.RemoveAll(work))
}

// repository is where an image's manifests and blobs are.
type repository struct {
	maker     *Maker
	address   string // https://registry.k8s.io/v2/kube-apiserver
	what      string // for people
	transport http.RoundTripper
	work      string // directory
}

// openRepository gets ready to ask a registry. Credentials are a mirror's own
// or Docker's (~/.docker/config.json); public images need none.
func (m *Maker) openRepository(image, work string) (*repository, error) {
	tag, err := name.NewTag(image, name.StrictValidation)
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("image %s: %w", image, err))
	}
	at, err := m.fetch.Mirrors.Resolve("https://" + tag.RegistryStr() + "/" + tag.RepositoryStr())
	if err != nil {
		return nil, exitcode.BadInput(err)
	}
	// Redirects are followed by the one who asks, who judges them.
	once := &http.Client{Transport: m.fetch.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	client, err := registry.NewAuth(once, at.Host)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", image, err)
	}
	if password, ok := at.User.Password(); ok {
		client.Credential = auth.StaticCredential(at.Host, auth.Credential{Username: at.User.Username(), Password: password})
	}
	address := url.URL{Scheme: at.Scheme, Host: at.Host, Path: "/v2" + at.Path}
	return &repository{m, address.String(), programOf(image), authorized{client}, work}, nil
}

// authorized sends requests with what the registry asks for to let them pass.
type authorized struct{ *auth.Client }

func (a authorized) RoundTrip(r *http.Request) (*http.Response, error) { return a.Do(r) }

// get fetches what the repository has under a digest into a file.
func (r *repository) get(ctx context.Context, kind, digest string, size, most int64) (string, error) {
	algorithm, sum, _ := strings.Cut(digest, ":")
	if algorithm != "sha256" {
		return "", exitcode.BadInput(fmt.Errorf("digest %s: expected sha256", digest))
	}
	file := filepath.Join(r.work, sum)
	f := fetch.File{What: "image " + r.what, URL: r.address + "/" + kind + "/" + digest, SHA256: sum, Size: size, Max: most, Transport: r.transport}
	if kind == "manifests" {
		f.Header = http.Header{"Accept": {strings.Join(manifestTypes(), ", ")}}
	}
	return file, r.maker.fetch.Get(ctx, f, file)
}

func manifestTypes() []string {
	return []string{string(types.OCIManifestSchema1), string(types.DockerManifestSchema2), string(types.OCIImageIndex), string(types.DockerManifestList)}
}

// imageManifest is a manifest of one image, as it lies in the registry.
type imageManifest struct {
	v1.Manifest
	raw    []byte
	digest string
}

// manifest reads a manifest. Of an index it takes the one for arch.
func (r *repository) manifest(ctx context.Context, digest, arch string, nested bool) (imageManifest, error) {
	file, err := r.get(ctx, "manifests", digest, 0, maxManifest)
	if err != nil {
		return imageManifest{}, err
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return imageManifest{}, err
	}
	refuse := func(format string, args ...any) (imageManifest, error) {
		return imageManifest{}, exitcode.BadInput(fmt.Errorf("image %s@%s: "+format, append([]any{r.what, digest}, args...)...))
	}
	var kind struct {
		MediaType types.MediaType `json:"mediaType"`
		Manifests []v1.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return refuse("its manifest cannot be read: %w", err)
	}
	if kind.MediaType.IsIndex() || kind.MediaType == "" && kind.Manifests != nil {
		if nested {
			return refuse("it is an index in an index: expected an image")
		}
		for _, m := range kind.Manifests {
			if m.Platform != nil && m.Platform.OS == "linux" && m.Platform.Architecture == arch && slices.Contains([]string{"", "v8"}, m.Platform.Variant) {
				return r.manifest(ctx, m.Digest.String(), arch, true)
			}
		}
		return refuse("there is none for linux/%s: found %s", arch, platforms(kind.Manifests))
	}
	if kind.MediaType != "" && !kind.MediaType.IsImage() {
		return refuse("its manifest is of type %q: expected an image or an index of OCI or Docker", kind.MediaType)
	}
	m := imageManifest{raw: raw, digest: digest}
	if err := json.Unmarshal(raw, &m.Manifest); err != nil {
		return refuse("its manifest cannot be read: %w", err)
	}
	if m.MediaType == "" {
		m.MediaType = types.OCIManifestSchema1 // optional in OCI's
	}
	if m.SchemaVersion != 2 || len(m.Layers) == 0 || len(m.Layers) > maxLayers {
		return refuse("found schema %d with %d layers: expected schema 2 with 1 to %d", m.SchemaVersion, len(m.Layers), maxLayers)
	}
	total := m.Config.Size
	for _, l := range m.Layers {
		if !layerTypes(l.MediaType) || len(l.URLs) > 0 {
			return refuse("layer %s is of type %q or lies elsewhere: expected a tar, plain or compressed with gzip or zstd, in the registry", l.Digest, l.MediaType)
		}
		if l.Size < 0 || l.Size > maxImage {
			return refuse("layer %s has %d bytes: expected at most %d", l.Digest, l.Size, int64(maxImage))
		}
		total += l.Size
	}
	if m.Config.Size <= 0 || m.Config.Size > maxManifest || total > maxImage {
		return refuse("it has a configuration of %d bytes and %d bytes in all: expected at most %d and %d", m.Config.Size, total, maxManifest, int64(maxImage))
	}
	return m, nil
}

func layerTypes(t types.MediaType) bool {
	return slices.Contains([]types.MediaType{types.OCILayer, types.OCIUncompressedLayer, types.OCILayerZStd, types.DockerLayer, types.DockerUncompressedLayer}, t)
}

func platforms(list []v1.Descriptor) string {
	var names []string
	for _, m := range list {
		if m.Platform != nil {
			names = append(names, m.Platform.String())
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// pull writes the image for arch to target, under its name.
func (r *repository) pull(ctx context.Context, image, digest, arch, target string) (oci.Written, error) {
	m, err := r.manifest(ctx, digest, arch, false)
	if err != nil {
		return oci.Written{}, err
	}
	pulled := oci.Pulled{Name: image, Arch: arch, MediaType: m.MediaType, Manifest: m.raw, Digest: m.digest, Blobs: map[string]string{}}
	blobs := map[string]int64{m.Config.Digest.String(): m.Config.Size}
	for _, l := range m.Layers {
		blobs[l.Digest.String()] = l.Size
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for digest, size := range blobs {
		algorithm, sum, _ := strings.Cut(digest, ":")
		pulled.Blobs[digest] = filepath.Join(r.work, sum)
		if algorithm == "sha256" && size == 0 {
			return oci.Written{}, exitcode.BadInput(fmt.Errorf("image %s: blob %s is empty", r.what, digest))
		}
		group.Go(func() error {
			_, err := r.get(groupCtx, "blobs", digest, size, maxImage)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return oci.Written{}, err
	}
	if err := checkConfig(pulled.Blobs[m.Config.Digest.String()], r.what, arch, len(m.Layers)); err != nil {
		return oci.Written{}, exitcode.BadInput(err)
	}
	return oci.WritePulled(ctx, pulled, target)
}

// checkConfig makes sure that an image without an index is for the profile's
// architecture, too.
func checkConfig(file, what, arch string, layers int) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var config v1.ConfigFile
	if err := json.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("image %s: its configuration cannot be read: %w", what, err)
	}
	if config.OS != "linux" || config.Architecture != arch {
		return fmt.Errorf("image %s is for %s/%s, and the profile for linux/%s: pin the digest of the index, or of the image for %s", what, config.OS, config.Architecture, arch, arch)
	}
	if len(config.RootFS.DiffIDs) != layers {
		return fmt.Errorf("image %s has %d layers, and its configuration tells of %d", what, layers, len(config.RootFS.DiffIDs))
	}
	return nil
}
