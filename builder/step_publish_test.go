package builder

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
)

func TestPublish(t *testing.T) {
	t.Parallel()
	b, _ := prepared(t, nil)
	b.scratch = t.TempDir()
	out := b.config.OutputDirectory
	write(t, out, map[string]string{"debian-13.qcow2": "the old image", "debian-13.manifest.json": "old", "other": "stays"})
	write(t, b.scratch, map[string]string{"debian-13.qcow2": "the new image"})
	b.images = []output{{filepath.Join(b.scratch, "debian-13.qcow2"), manifest.DiskImage{
		File: "debian-13.qcow2", Format: "qcow2", VirtualSize: 8 << 30,
	}}}
	digest := sha256.Sum256([]byte("the new image"))
	id := hex.EncodeToString(digest[:])
	b.inputs, b.base.Key, b.rootSize = "sha256:1", "base", 42
	state := new(multistep.BasicStateBag)
	if (&stepPublish{build: b}).Run(t.Context(), state) != multistep.ActionContinue {
		t.Fatal(stateError(state))
	}
	a := b.artifact
	if diff := cmp.Diff([]string{out + "/debian-13.qcow2", out + "/debian-13.manifest.json"}, a.Files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if a.Id() != id || a.BuilderId() != "nodeimage.nodeimage" || !strings.Contains(a.String(), "debian-13.qcow2") {
		t.Errorf("%s, %s, %s", a.Id(), a.BuilderId(), a)
	}
	if content, err := os.ReadFile(out + "/debian-13.qcow2"); err != nil || string(content) != "the new image" {
		t.Errorf("%q, %v", content, err)
	}
	text, err := os.ReadFile(out + "/debian-13.manifest.json")
	for _, want := range []string{`"schema": "nodeimage.dev/manifest/v1"`, `"components": []`, `"rootfs": 42`, `"virtualSize": 8589934592`, `"size": 13`, `"sha256": "` + id, `"inputs": "sha256:1"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("manifest lacks %s: %s, %v", want, text, err)
		}
	}
	image, ok := a.State(registryimage.ArtifactStateURI).(*registryimage.Image)
	if !ok || image.ImageID != a.Id() || image.SourceImageID != "base:base" || image.Labels["profile"] != "debian-13" || image.Validate() != nil {
		t.Errorf("HCP metadata: %+v", image)
	}
	if a.State("no such thing") != nil {
		t.Error("an unknown state has a value")
	}
	if err := errors.Join(a.Destroy(), a.Destroy()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"other"}, names(t, out)); diff != "" {
		t.Errorf("after Destroy (-want +got):\n%s", diff)
	}
}

func TestCopyKeepsHolesAndLeavesNoPart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "out", "to")
	write(t, dir, map[string]string{"out/x": ""})
	f, err := os.Create(from)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("data"), 5<<20)
	if err := errors.Join(err, f.Truncate(64<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	for name, copyFile := range map[string]func() error{
		"nameless": func() error { return copyNameless(from, filepath.Dir(to), to) },
		"named":    func() error { return copyNamed(from, to) },
	} {
		if err := copyFile(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		a, _, errA := disk.Digest(t.Context(), from)
		b, size, errB := disk.Digest(t.Context(), to)
		if errA != nil || errB != nil || a != b || size != 64<<20 {
			t.Errorf("%s: the copy differs: %v, %v", name, errA, errB)
		}
		if blocks(t, to) > blocks(t, from)+64 {
			t.Errorf("%s: the copy takes %d blocks, the original %d", name, blocks(t, to), blocks(t, from))
		}
		if err := os.Remove(to); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyNameless(filepath.Join(dir, "none"), filepath.Dir(to), to); err == nil {
		t.Error("a missing file was copied")
	}
	if diff := cmp.Diff([]string{"x"}, names(t, filepath.Dir(to))); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// Whether the two file systems are one or not, what goes on meanwhile is done
// before anything is replaced, and nothing is when it fails.
func TestMoveFile(t *testing.T) {
	t.Parallel()
	memory, err := os.MkdirTemp("/dev/shm", "nodeimage-test-")
	if err != nil {
		t.Skip("no second file system: ", err)
	}
	t.Cleanup(func() { os.RemoveAll(memory) })
	for name, dir := range map[string]string{"one file system": t.TempDir(), "two": memory} {
		out := t.TempDir()
		from, to := filepath.Join(dir, "from"), filepath.Join(out, "to")
		write(t, out, map[string]string{"to": "old"})
		write(t, dir, map[string]string{"from": "new"})
		broken := errors.New("broken")
		if err := moveFile(from, to, func() error { return broken }); !errors.Is(err, broken) {
			t.Errorf("%s: %v, want %v", name, err, broken)
		}
		if content, err := os.ReadFile(to); err != nil || string(content) != "old" {
			t.Errorf("%s: after a failure %q, %v", name, content, err)
		}
		seen := ""
		if err := moveFile(from, to, func() error {
			content, err := os.ReadFile(from)
			seen = string(content)
			return err
		}); err != nil || seen != "new" {
			t.Errorf("%s: %v, meanwhile %q was there", name, err, seen)
		}
		if content, err := os.ReadFile(to); err != nil || string(content) != "new" {
			t.Errorf("%s: moved %q, %v", name, content, err)
		}
		if diff := cmp.Diff([]string{"to"}, names(t, out)); diff != "" {
			t.Errorf("%s: left (-want +got):\n%s", name, diff)
		}
	}
}

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks
}
