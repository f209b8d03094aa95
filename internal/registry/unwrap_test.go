package registry

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestDiskLayerIsATar(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 513, 100_000} {
		data, _ := blobOf(size)
		layer, err := newDiskLayer("node.qcow2", bytes.NewReader(data), int64(size))
		must(t, err)
		whole, err := io.ReadAll(io.NewSectionReader(layer, 0, layer.Size()))
		must(t, err)
		// Any part reads the same as the whole does.
		if err := iotest.TestReader(io.NewSectionReader(layer, 0, layer.Size()), whole); err != nil {
			t.Error(err)
		}
		tr := tar.NewReader(bytes.NewReader(whole))
		for _, want := range []string{"disk/", "disk/node.qcow2"} {
			h, err := tr.Next()
			must(t, err)
			if h.Name != want || h.Uid != 107 || h.Gid != 107 {
				t.Errorf("found %s of %d:%d, want %s of 107:107", h.Name, h.Uid, h.Gid, want)
			}
		}
		if got, err := io.ReadAll(tr); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: the disk differs, %v", size, err)
		}
		if _, err := tr.Next(); err != io.EOF {
			t.Errorf("after the disk: %v", err)
		}
	}
}

func TestShortenedFileIsAnError(t *testing.T) {
	layer, err := newDiskLayer("node.qcow2", strings.NewReader("short"), 1000)
	must(t, err)
	if _, err := io.ReadAll(io.NewSectionReader(layer, 0, layer.Size())); err != io.ErrUnexpectedEOF {
		t.Errorf("got %v", err)
	}
}

func TestHostileLayers(t *testing.T) {
	link := &tar.Header{Typeflag: tar.TypeSymlink, Name: "disk/node.qcow2", Linkname: "/etc/passwd"}
	up := &tar.Header{Typeflag: tar.TypeReg, Name: "../disk/node.qcow2"}
	many := make([]*tar.Header, maxEntries+1)
	for i := range many {
		many[i] = up
	}
	for name, entries := range map[string][]*tar.Header{"no disk": nil, "a link": {link}, "outside": {up}, "many": many} {
		dir := t.TempDir()
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		for _, h := range entries {
			must(t, tw.WriteHeader(h))
		}
		must(t, tw.Close())
		must(t, os.WriteFile(filepath.Join(dir, "layer"), b.Bytes(), 0o644))
		if sum, err := unwrap(t.Context(), filepath.Join(dir, "layer"), filepath.Join(dir, "out"), "node.qcow2"); err == nil {
			t.Errorf("%s: unpacked %s", name, sum)
		}
		if _, err := os.Lstat(filepath.Join(dir, "out")); err == nil {
			t.Errorf("%s: something was written", name)
		}
	}
}

func TestDiskInAManifest(t *testing.T) {
	disk := ocispec.Descriptor{MediaType: TypeQCOW2, Digest: digest.FromString("x"), Size: 1}
	long := disk
	long.Size = maxDisk + 1
	sha512 := disk
	sha512.Digest = digest.SHA512.FromString("x")
	layer := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString("x"), Size: 1}
	config := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig}
	for name, m := range map[string]ocispec.Manifest{
		"two disks":    {ArtifactType: TypeArtifact, Layers: []ocispec.Descriptor{disk, disk}},
		"no disk":      {ArtifactType: TypeArtifact},
		"too long":     {ArtifactType: TypeArtifact, Layers: []ocispec.Descriptor{long}},
		"other digest": {ArtifactType: TypeArtifact, Layers: []ocispec.Descriptor{sha512}},
		"other type":   {ArtifactType: "application/vnd.example", Layers: []ocispec.Descriptor{disk}},
		"two layers":   {Config: config, Layers: []ocispec.Descriptor{layer, layer}},
		"gzip":         {Config: config, Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: layer.Digest, Size: 1}}},
	} {
		if _, _, err := theDisk(m); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for _, name := range []string{"../up", "a/b", "", ".hidden", "-flag", "a\nb", strings.Repeat("a", 300)} {
		if fileName.MatchString(name) {
			t.Errorf("%q would become a file's name", name)
		}
	}
}
