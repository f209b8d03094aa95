package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func spec() Spec {
	return Spec{
		Name: "registry.k8s.io/coredns/coredns:v1.14.6",
		Arch: "amd64",
		Entries: []Entry{
			{Path: "/coredns", Kind: File, Mode: 0o755, Content: "program", XAttrs: NetBindService()},
			{Path: "/usr/lib/x/libx.so", Kind: Symlink, Target: "libx.so.1"},
			{Path: "/usr/lib/x/libx.so.1", Kind: File, Mode: 0o644, Content: strings.Repeat("x", 100_000)},
			{Path: "/tmp", Kind: Dir, Mode: 0o1777},
			{Path: "/home/nonroot", Kind: Dir, Mode: 0o700, UID: 65532, GID: 65532},
		},
		Entrypoint: []string{"/coredns"},
		Env:        []string{PathEnv},
		User:       "65532:65532",
		WorkingDir: "/",
		Ports:      []string{"53/tcp", "53/udp"},
	}
}

// write writes s and returns what it became and the bytes of the tar.
func write(t *testing.T, s Spec) (Written, []byte) {
	t.Helper()
	target := filepath.Join(t.TempDir(), "image.tar")
	w, err := Write(t.Context(), s, target)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	return w, text
}

// untar unpacks regular files into a new directory.
func untar(t *testing.T, text []byte) string {
	t.Helper()
	dir := t.TempDir()
	tr := tar.NewReader(bytes.NewReader(text))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			var content []byte
			if content, err = io.ReadAll(tr); err == nil {
				err = os.WriteFile(path, content, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// image reads a tar back with another implementation than the one that wrote it.
func image(t *testing.T, text []byte) (v1.Image, v1.Descriptor) {
	t.Helper()
	path, err := layout.FromPath(untar(t, text))
	if err != nil {
		t.Fatal(err)
	}
	index, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("the index has %d manifests, expected 1", len(manifest.Manifests))
	}
	img, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img, manifest.Manifests[0]
}

func TestWriteIsDeterministic(t *testing.T) {
	t.Parallel()
	first, firstBytes := write(t, spec())
	other := spec()
	other.Entries[0], other.Entries[3] = other.Entries[3], other.Entries[0]
	other.Entries[1], other.Entries[4] = other.Entries[4], other.Entries[1]
	second, secondBytes := write(t, other)
	if first != second || !bytes.Equal(firstBytes, secondBytes) {
		t.Errorf("the same image gave %+v and %+v", first, second)
	}
	for name, change := range map[string]func(*Spec){
		"content":    func(s *Spec) { s.Entries[0].Content = "Program" },
		"mode":       func(s *Spec) { s.Entries[0].Mode = 0o750 },
		"owner":      func(s *Spec) { s.Entries[0].UID = 1 },
		"capability": func(s *Spec) { s.Entries[0].XAttrs = nil },
		"target":     func(s *Spec) { s.Entries[1].Target = "y" },
		"user":       func(s *Spec) { s.User = "" },
		"arch":       func(s *Spec) { s.Arch = "arm64" },
	} {
		changed := spec()
		change(&changed)
		if w, _ := write(t, changed); w.Digest == first.Digest {
			t.Errorf("another %s gave the same digest", name)
		}
	}
}

func TestWriteLayout(t *testing.T) {
	t.Parallel()
	w, text := write(t, spec())
	img, descriptor := image(t, text)
	// The fast way, since the other one reads gzip only: the layer's sums are
	// compared below.
	if err := validate.Image(img, validate.Fast); err != nil {
		t.Error(err)
	}
	if descriptor.Digest.String() != w.Digest {
		t.Errorf("the index names %s, Write returned %s", descriptor.Digest, w.Digest)
	}
	wantNames := map[string]string{
		"io.containerd.image.name":          "registry.k8s.io/coredns/coredns:v1.14.6",
		"org.opencontainers.image.ref.name": "v1.14.6",
	}
	if diff := cmp.Diff(wantNames, descriptor.Annotations); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	wantConfig := v1.Config{
		Entrypoint:   []string{"/coredns"},
		Env:          []string{PathEnv},
		User:         "65532:65532",
		WorkingDir:   "/",
		ExposedPorts: map[string]struct{}{"53/tcp": {}, "53/udp": {}},
	}
	if diff := cmp.Diff(wantConfig, config.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if config.OS != "linux" || config.Architecture != "amd64" || config.Created.Unix() != 0 {
		t.Errorf("platform %s/%s created %s, expected linux/amd64 at the epoch", config.OS, config.Architecture, config.Created)
	}
	var blobs int64
	for _, name := range []string{"config", "layer"} {
		var size int64
		if name == "config" {
			raw, err := img.RawConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			size = int64(len(raw))
		} else {
			layers, err := img.Layers()
			if err != nil || len(layers) != 1 {
				t.Fatalf("%d layers, %v; expected one", len(layers), err)
			}
			if size, err = layers[0].Size(); err != nil {
				t.Fatal(err)
			}
		}
		blobs += size
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	want, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got := hashOf(t, layers[0].Compressed); got != want {
		t.Errorf("the layer's blob has the digest %s, the manifest says %s", got, want)
	}
	if got := hashOf(t, layers[0].Uncompressed); got != config.RootFS.DiffIDs[0] {
		t.Errorf("the layer's tar has the digest %s, the configuration says %s", got, config.RootFS.DiffIDs[0])
	}
	if w.Size != blobs+descriptor.Size {
		t.Errorf("Size = %d, expected the sum of all blobs, %d", w.Size, blobs+descriptor.Size)
	}
}

func hashOf(t *testing.T, open func() (io.ReadCloser, error)) v1.Hash {
	t.Helper()
	content, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	hash, _, err := v1.SHA256(content)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestLayerContents(t *testing.T) {
	t.Parallel()
	_, text := write(t, spec())
	img, _ := image(t, text)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	type member struct {
		Name, Link, Capability string
		Type                   byte
		Mode                   int64
		UID, GID               int
		Size                   int64
	}
	var got []member
	tr := tar.NewReader(content)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 0 {
			t.Errorf("%s has the time %s, expected the epoch", h.Name, h.ModTime)
		}
		got = append(got, member{h.Name, h.Linkname, h.PAXRecords["SCHILY.xattr.security.capability"], h.Typeflag, h.Mode, h.Uid, h.Gid, h.Size})
	}
	// What `setcap cap_net_bind_service=+ep` writes on a little-endian machine.
	const capability = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	want := []member{
		{Name: "coredns", Type: tar.TypeReg, Mode: 0o755, Size: 7, Capability: capability},
		{Name: "home/", Type: tar.TypeDir, Mode: 0o755},
		{Name: "home/nonroot/", Type: tar.TypeDir, Mode: 0o700, UID: 65532, GID: 65532},
		{Name: "tmp/", Type: tar.TypeDir, Mode: 0o1777},
		{Name: "usr/", Type: tar.TypeDir, Mode: 0o755},
		{Name: "usr/lib/", Type: tar.TypeDir, Mode: 0o755},
		{Name: "usr/lib/x/", Type: tar.TypeDir, Mode: 0o755},
		{Name: "usr/lib/x/libx.so", Link: "libx.so.1", Type: tar.TypeSymlink, Mode: 0o777},
		{Name: "usr/lib/x/libx.so.1", Type: tar.TypeReg, Mode: 0o644, Size: 100_000},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layer (-want +got):\n%s", diff)
	}
}

// The index must say what it is: containerd tells an OCI layout from a docker
// archive by the marker file.
func TestLayoutMarker(t *testing.T) {
	t.Parallel()
	_, text := write(t, spec())
	marker, err := os.ReadFile(filepath.Join(untar(t, text), "oci-layout"))
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ ImageLayoutVersion string }
	if err := json.Unmarshal(marker, &got); err != nil || got.ImageLayoutVersion != "1.0.0" {
		t.Errorf("oci-layout holds %s, %v", marker, err)
	}
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*Spec)
		want   string
	}{
		"no tag":            {func(s *Spec) { s.Name = "registry.k8s.io/pause" }, "assembling the image registry.k8s.io/pause"},
		"relative path":     {func(s *Spec) { s.Entries[0].Path = "coredns" }, `"coredns": expected a clean absolute path`},
		"unclean path":      {func(s *Spec) { s.Entries[0].Path = "/a/../b" }, "expected a clean absolute path"},
		"path twice":        {func(s *Spec) { s.Entries[0].Path = "/tmp" }, "/tmp is given twice"},
		"below a file":      {func(s *Spec) { s.Entries[3].Path = "/coredns/x" }, "/coredns/x lies below /coredns"},
		"no kind":           {func(s *Spec) { s.Entries[0].Kind = 0 }, "unknown kind"},
		"missing file":      {func(s *Spec) { s.Entries[0].Source = "/nonexistent/x" }, "packing /coredns"},
		"directory as file": {func(s *Spec) { s.Entries[0].Source = "/" }, "packing /coredns"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := spec()
			tt.change(&s)
			dir := t.TempDir()
			_, err := Write(t.Context(), s, filepath.Join(dir, "image.tar"))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Write: %v; expected %q", err, tt.want)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}
