package rebuild

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// image writes an image and its manifest, which edit may change, and returns
// the image's path.
func image(t *testing.T, content string, edit func(*manifest.Manifest)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node.qcow2")
	sum := sha256.Sum256([]byte(content))
	m := manifest.Manifest{
		Schema:     manifest.SchemaVersion,
		Profile:    manifest.Profile{Name: "node", SHA256: strings.Repeat("a", 64)},
		Images:     []manifest.DiskImage{{File: "node.qcow2", Format: "qcow2", SHA256: hex.EncodeToString(sum[:]), VirtualSize: 8 << 30}},
		Packages:   []manifest.Package{{Name: "apt", Version: "3.0.1", Arch: "amd64", SHA256: "11"}, {Name: "vim", Version: "9", Arch: "amd64", SHA256: "22"}},
		Components: []manifest.Component{{Name: "runc", Version: "1.5.2", Source: "gomod", Sum: "h1:x", Toolchain: "go1.26", Files: []manifest.File{{Path: "/usr/local/sbin/runc", SHA256: "33"}}}},
		Containers: []manifest.Container{{Name: "pause:3", Digest: "sha256:44"}},
	}
	if edit != nil {
		edit(&m)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{path: []byte(content), manifest.PathOf(path): text} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestIdentical(t *testing.T) {
	t.Parallel()
	o, err := Read(t.Context(), image(t, "same", nil))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Compare(t.Context(), o, image(t, "same", nil))
	if err != nil || !r.Identical || len(r.Differences) != 0 || r.Got != r.SHA256 {
		t.Errorf("%+v, %v", r, err)
	}
	if o.DiskSize() != "8192MiB" {
		t.Errorf("disk size %s", o.DiskSize())
	}
}

func TestWhatDiffersIsNamed(t *testing.T) {
	t.Parallel()
	o, err := Read(t.Context(), image(t, "before", nil))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Compare(t.Context(), o, image(t, "after", func(m *manifest.Manifest) {
		m.Packages = []manifest.Package{{Name: "apt", Version: "3.0.2", Arch: "amd64", SHA256: "12"}, {Name: "zstd", Version: "1", Arch: "amd64", SHA256: "23"}}
		m.Components[0].Toolchain = "go1.27"
		m.Components[0].Files[0].SHA256 = "34"
		m.Containers[0].Digest = "sha256:45"
		m.Tool.Version = "2"
		m.Base = &manifest.Base{URL: "https://images.example/20251113/noble.img", SHA256: "56", Signer: "KEY"}
	}))
	if err != nil || r.Identical {
		t.Fatalf("%+v, %v", r, err)
	}
	want := []string{
		"built by  , now by  2",
		"base cloud image: new, https://images.example/20251113/noble.img sha256:56 KEY",
		"package apt:amd64: was 3.0.1 sha256:11, is 3.0.2 sha256:12",
		"package vim:amd64: gone, was 9 sha256:22",
		"package zstd:amd64: new, 1 sha256:23",
		"component runc: was 1.5.2 gomod h1:x go1.26, is 1.5.2 gomod h1:x go1.27",
		"file /usr/local/sbin/runc: was sha256:33, is sha256:34",
		"container image pause:3: was sha256:44, is sha256:45",
	}
	if diff := cmp.Diff(want, r.Differences); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
	// These are no disks: that they could not be looked into is said.
	if r.Diff != nil || r.DiffError == "" {
		t.Errorf("a difference of two texts: %+v, %q", r.Diff, r.DiffError)
	}
}

// Two disks made from the same things are compared byte by byte.
func TestBytesThatDifferAreNamed(t *testing.T) {
	t.Parallel()
	packed, err := os.Open("../../validate/target/testdata/disk.raw.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	raw := func() string {
		return image(t, string(disk), func(m *manifest.Manifest) { m.Images[0].Format = "raw" })
	}
	a := raw()
	at := len(disk) - 40<<10 // in no partition: before the second partition table
	disk[at] ^= 1
	b := raw()
	o, err := Read(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Compare(t.Context(), o, b)
	if err != nil || r.Identical {
		t.Fatalf("%+v, %v", r, err)
	}
	if len(r.Differences) != 0 {
		t.Errorf("made from other things: %v", r.Differences)
	}
	if r.Diff == nil {
		t.Fatalf("no difference was looked for: %s", r.DiffError)
	}
	if r.SameDisk {
		t.Error("a disk with another byte is called the same")
	}
	if r.Diff.Disk == nil || len(r.Diff.Disk.Ranges) != 1 || r.Diff.Disk.Ranges[0].Start != int64(at)&^511 {
		t.Errorf("want the range at %d: %+v", at, r.Diff.Disk)
	}
}

func TestWhatIsNotAnImageWithItsManifestIsRefused(t *testing.T) {
	t.Parallel()
	changed := image(t, "x", nil)
	if err := os.WriteFile(changed, []byte("y"), 0o644); err != nil {
		t.Fatal(err)
	}
	alone := image(t, "x", nil)
	if err := os.Remove(manifest.PathOf(alone)); err != nil {
		t.Fatal(err)
	}
	broken := image(t, "x", nil)
	if err := os.WriteFile(manifest.PathOf(broken), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	gone := image(t, "x", nil)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		changed: "changed since it was built",
		alone:   "node.manifest.json",
		broken:  "unexpected end",
		gone:    "no such file",
		image(t, "x", func(m *manifest.Manifest) { m.Images[0].File = "other.qcow2" }): "no image node.qcow2",
		image(t, "x", func(m *manifest.Manifest) { m.Schema = "v9" }):                  `"v9"`,
	} {
		if _, err := Read(t.Context(), path); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want bad input and %q", err, want)
		}
	}
}

func TestAnotherProfileIsRefused(t *testing.T) {
	t.Parallel()
	p, err := profiles.Load("debian-13")
	if err != nil {
		t.Fatal(err)
	}
	o := Original{Path: "node.qcow2"}
	if err := o.CheckProfile(p); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "--profile") {
		t.Errorf("got %v", err)
	}
	o.Manifest.Profile.SHA256 = p.Hash()
	if err := o.CheckProfile(p); err != nil {
		t.Error(err)
	}
}
