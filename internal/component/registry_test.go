package component

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/oci"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/upstreamtest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

const pauseImage = "registry.k8s.io/pause:3.10.2"

// addPause serves a pause image for architectures and pins its index.
func (u *upstream) addPause(arches ...string) (tars map[string]string) {
	u.t.Helper()
	tars = map[string]string{}
	for _, arch := range arches {
		tars[arch] = filepath.Join(u.t.TempDir(), arch+".tar")
		if _, err := oci.Write(u.t.Context(), oci.Spec{Name: pauseImage, Arch: arch, Entrypoint: []string{"/pause"},
			Entries: []oci.Entry{{Path: "/pause", Kind: oci.File, Mode: 0o755, Content: "pause for " + arch}}}, tars[arch]); err != nil {
			u.t.Fatal(err)
		}
	}
	digest, err := u.server.AddImage(pauseImage, tars)
	if err != nil {
		u.t.Fatal(err)
	}
	u.profile.Components["pause"] = profiles.Component{Version: "3.10.2", Source: profiles.SourceRegistry, Image: "pause:3.10.2", Digest: digest}
	return tars
}

// layoutOf reads the index and the blobs of an image tar.
func layoutOf(t *testing.T, file string) (v1.IndexManifest, map[string]string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var index v1.IndexManifest
	content := map[string]string{}
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		content[header.Name] = string(text)
	}
	if err := json.Unmarshal([]byte(content["index.json"]), &index); err != nil {
		t.Fatal(err)
	}
	return index, content
}

// A pulled image is the very tar that it would be had it been assembled: the
// same path leads into the node image.
func TestImageFromRegistry(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	tars := u.addPause("amd64", "arm64")
	m, err := New(u.profile, u.store, Options{Runner: runtest.New(t), Mirrors: u.server.Settings()})
	if err != nil {
		t.Fatal(err)
	}
	image, err := m.image(t.Context(), pauseImage)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(tars["amd64"])
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(image.Path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		index, content := layoutOf(t, image.Path)
		t.Errorf("the tar is another one than was served: %+v, %d files", index, len(content))
	}
	index, _ := layoutOf(t, image.Path)
	if image.Name != pauseImage || image.Digest != index.Manifests[0].Digest.String() || image.Size <= 0 {
		t.Errorf("image %+v", image)
	}
	built, err := m.Component(t.Context(), "pause")
	if err != nil {
		t.Fatal(err)
	}
	if r := built.Record; r.Source != "registry" || r.Module != pauseImage || r.Sum != u.profile.Components["pause"].Digest {
		t.Errorf("record %+v", r)
	}
	// Blobs and manifests of the other architecture were left alone.
	other, _ := layoutOf(t, tars["arm64"])
	if n := len(u.server.Requests(upstreamtest.ManifestAddress(pauseImage, other.Manifests[0].Digest.String()))); n != 0 {
		t.Errorf("arm64's manifest was asked for %d times", n)
	}
}

func TestImageByItsOwnDigest(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	tars := u.addPause("amd64", "arm64")
	pin := func(arch string) {
		index, _ := layoutOf(t, tars[arch])
		c := u.profile.Components["pause"]
		c.Digest = index.Manifests[0].Digest.String()
		u.profile.Components["pause"] = c
	}
	pin("amd64")
	if _, err := u.get("pause"); err != nil {
		t.Error(err)
	}
	pin("arm64")
	_, err := u.get("pause")
	want := "component pause: image pause is for linux/arm64, and the profile for linux/amd64: pin the digest of the index, or of the image for amd64"
	if err == nil || err.Error() != want || exitcode.Of(err) != exitcode.Usage {
		t.Errorf("found\n%v\nexpected\n%s", err, want)
	}
}

func TestRegistryBadDays(t *testing.T) {
	t.Parallel()
	// layer is where the layer of the image for amd64 is served.
	layer := func(t *testing.T, tars map[string]string) string {
		index, content := layoutOf(t, tars["amd64"])
		var m v1.Manifest
		if err := json.Unmarshal([]byte(content["blobs/sha256/"+index.Manifests[0].Digest.Hex]), &m); err != nil {
			t.Fatal(err)
		}
		return upstreamtest.BlobAddress(pauseImage, m.Layers[0].Digest.String())
	}
	for name, tt := range map[string]struct {
		prepare func(t *testing.T, u *upstream, tars map[string]string)
		code    int
		want    string // how it begins; DIGEST is the pinned one
	}{
		"manifest of another digest": {func(t *testing.T, u *upstream, tars map[string]string) {
			u.server.Misbehave(upstreamtest.ManifestAddress(pauseImage, u.profile.Components["pause"].Digest), upstreamtest.OtherContent([]byte(`{"schemaVersion":2}`)))
		}, exitcode.Usage, "component pause: fetching image pause from URL/v2/registry.k8s.io/pause/manifests/DIGEST: sha256 is "},
		"layer of another digest": {func(t *testing.T, u *upstream, tars map[string]string) {
			u.server.Misbehave(layer(t, tars), upstreamtest.WrongBytes())
		}, exitcode.Usage, "component pause: fetching image pause from URL/v2/registry.k8s.io/pause/blobs/sha256:"},
		"layer of another size": {func(t *testing.T, u *upstream, tars map[string]string) {
			u.server.Misbehave(layer(t, tars), upstreamtest.OtherContent([]byte("short")))
		}, exitcode.Infrastructure, "component pause: fetching image pause from URL/v2/registry.k8s.io/pause/blobs/sha256:"},
		"not there": {func(t *testing.T, u *upstream, tars map[string]string) {
			c := u.profile.Components["pause"]
			c.Digest = "sha256:" + strings.Repeat("0", 64)
			u.profile.Components["pause"] = c
		}, exitcode.Usage, `component pause: fetching image pause from URL/v2/registry.k8s.io/pause/manifests/DIGEST: the server answers "404 Not Found": check the version and the address in the profile, and NODEIMAGE_MIRRORS=… or --mirror`},
		"no image for the architecture": {func(t *testing.T, u *upstream, tars map[string]string) {
			u.addPause("arm64")
		}, exitcode.Usage, "component pause: image pause@DIGEST: there is none for linux/amd64: found unknown/unknown, linux/arm64/v8"},
		"no manifest": {func(t *testing.T, u *upstream, tars map[string]string) {
			u.pinManifest("[]")
		}, exitcode.Usage, "component pause: image pause@DIGEST: its manifest cannot be read: "},
		"artifact": {func(t *testing.T, u *upstream, tars map[string]string) {
			u.pinManifest(`{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v1+json"}`)
		}, exitcode.Usage, `component pause: image pause@DIGEST: its manifest is of type "application/vnd.docker.distribution.manifest.v1+json": expected an image or an index of OCI or Docker`},
		"image without layers": {func(t *testing.T, u *upstream, tars map[string]string) {
			u.pinManifest(`{"schemaVersion":2,"config":{"size":2}}`)
		}, exitcode.Usage, "component pause: image pause@DIGEST: found schema 2 with 0 layers: expected schema 2 with 1 to 128"},
		"layer that lies elsewhere": {func(t *testing.T, u *upstream, tars map[string]string) {
			u.pinManifest(manifestWith(`"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":1,"urls":["https://example.org/x"]`))
		}, exitcode.Usage, `component pause: image pause@DIGEST: layer sha256:` + strings.Repeat("1", 64) + ` is of type "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" or lies elsewhere: expected a tar, plain or compressed with gzip or zstd, in the registry`},
		"layer of terabytes": {func(t *testing.T, u *upstream, tars map[string]string) {
			u.pinManifest(manifestWith(`"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":4398046511104`))
		}, exitcode.Usage, `component pause: image pause@DIGEST: layer sha256:` + strings.Repeat("1", 64) + ` has 4398046511104 bytes: expected at most 2147483648`},
		"index in an index": {func(t *testing.T, u *upstream, tars map[string]string) {
			inner := u.pinManifest(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
			u.pinManifest(fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","size":1,"digest":%q,"platform":{"os":"linux","architecture":"amd64"}}]}`, inner))
		}, exitcode.Usage, "component pause: image pause@sha256:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t)
			tt.prepare(t, u, u.addPause("amd64"))
			_, err := u.get("pause")
			if err == nil {
				t.Fatal("no error")
			}
			want := strings.Replace(tt.want, "DIGEST", u.profile.Components["pause"].Digest, 1)
			if got := u.anonymous(err.Error()); !strings.HasPrefix(got, want) || exitcode.Of(err) != tt.code {
				t.Errorf("exit code %d, found\n%s\nexpected code %d and\n%s", exitcode.Of(err), got, tt.code, want)
			}
			u.wantNothingLeft()
		})
	}
}

func manifestWith(layer string) string {
	digest := func(digit string) string { return `"digest":"sha256:` + strings.Repeat(digit, 64) + `"` }
	return `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,` + digest("0") + `},"layers":[{` + layer + "," + digest("1") + `}]}`
}

// pinManifest serves and pins a manifest, and returns its digest.
func (u *upstream) pinManifest(text string) string {
	u.t.Helper()
	c := u.profile.Components["pause"]
	c.Digest = "sha256:" + sumOf([]byte(text))
	if _, err := u.server.Add(upstreamtest.ManifestAddress(pauseImage, c.Digest), []byte(text)); err != nil {
		u.t.Fatal(err)
	}
	u.profile.Components["pause"] = c
	return c.Digest
}

// A registry that wants a token gets one, also in the middle of a download.
func TestRegistryWithTokens(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	tars := u.addPause("amd64")
	index, content := layoutOf(t, tars["amd64"])
	const tokens = "https://auth.example.org/token"
	if _, err := u.server.Add(tokens, []byte(`{"token":"open sesame"}`)); err != nil {
		t.Fatal(err)
	}
	guarded := func(next upstreamtest.Fault) upstreamtest.Fault {
		return func(a upstreamtest.Answer) bool {
			if a.Request.Header.Get("Authorization") == "Bearer open sesame" {
				return next != nil && next(a)
			}
			return upstreamtest.Status(http.StatusUnauthorized, "WWW-Authenticate",
				fmt.Sprintf(`Bearer realm="%s/auth.example.org/token",service="registry",scope="repository:registry.k8s.io/pause:pull"`, u.server.URL))(a)
		}
	}
	u.server.Misbehave(upstreamtest.ManifestAddress(pauseImage, u.profile.Components["pause"].Digest), guarded(nil))
	var cuts atomic.Int32
	for name := range content {
		if hash, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && hash != "" {
			address := upstreamtest.BlobAddress(pauseImage, "sha256:"+hash)
			if hash == index.Manifests[0].Digest.Hex {
				address = upstreamtest.ManifestAddress(pauseImage, "sha256:"+hash)
			}
			u.server.Misbehave(address, guarded(func(a upstreamtest.Answer) bool {
				if a.Request.Header.Get("Range") == "" {
					cuts.Add(1)
					return upstreamtest.Cut(20)(a)
				}
				return false
			}))
		}
	}
	if _, err := u.get("pause"); err != nil {
		t.Fatal(err)
	}
	if cuts.Load() == 0 {
		t.Error("nothing was cut")
	}
}
