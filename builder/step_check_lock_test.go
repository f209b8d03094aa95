package builder

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

func sha(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// lockedRoot is a root file system that is exactly what its lock says.
func lockedRoot(t *testing.T) (string, *lock.Lock, manifest.Fragment) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		dpkgStatus: "Package: libc6\nStatus: install ok installed\nVersion: 2.41\nArchitecture: amd64\n", "boot/vmlinuz-6.1": "kernel",
		"usr/lib/modules/6.1/modules.dep": "", "usr/local/sbin/runc": "runc", containerdBlobs + "/" + sha("image"): "image",
	} {
		writeFile(t, dir, name, content)
	}
	l := &lock.Lock{Content: lock.Content{
		Kernel:     lock.Kernel{Release: "6.1", SHA256: sha("kernel")},
		Packages:   []lock.Package{{Name: "libc6", Version: "2.41", Arch: "amd64"}},
		Components: []lock.Component{{Name: "runc", Version: "1.5.2", Sum: "h1:x", Files: []lock.File{{Name: "runc", SHA256: sha("runc")}}}},
		Images:     []lock.Image{{Name: "pause:3", Digest: "sha256:" + sha("image")}},
	}}
	f := manifest.Fragment{
		Components: []manifest.Component{{Name: "runc", Version: "1.5.2", Sum: "h1:x", Files: []manifest.File{{Path: "/usr/local/sbin/runc", SHA256: sha("runc")}}}},
		Containers: []manifest.Container{{Name: "pause:3", Digest: "sha256:" + sha("image")}},
	}
	return dir, l, f
}

func writeFile(t *testing.T, dir, name, content string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTheDiskIsWhatTheLockSays(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(t *testing.T, dir string, f *manifest.Fragment)
		want   string // "" for no difference
	}{
		"as locked": {func(*testing.T, string, *manifest.Fragment) {}, ""},
		"package added": {func(t *testing.T, dir string, _ *manifest.Fragment) {
			writeFile(t, dir, dpkgStatus, "Package: libc6\nStatus: install ok installed\nVersion: 2.41\nArchitecture: amd64\n\nPackage: nmap\nStatus: install ok installed\nVersion: 7\nArchitecture: amd64\n")
		}, "package nmap: found 7 (amd64), expected none"},
		"package upgraded": {func(t *testing.T, dir string, _ *manifest.Fragment) {
			writeFile(t, dir, dpkgStatus, "Package: libc6\nStatus: install ok installed\nVersion: 2.42\nArchitecture: amd64\n")
		}, "package libc6: found 2.42 (amd64), expected 2.41"},
		"second kernel": {func(t *testing.T, dir string, _ *manifest.Fragment) { writeFile(t, dir, "boot/vmlinuz-6.2", "other") }, "found /boot/vmlinuz-6.2"},
		"other kernel":  {func(t *testing.T, dir string, _ *manifest.Fragment) { writeFile(t, dir, "boot/vmlinuz-6.1", "evil") }, "vmlinuz-6.1 has sha256"},
		"kernel is a link": {func(t *testing.T, dir string, _ *manifest.Fragment) {
			kernel := filepath.Join(dir, "boot/vmlinuz-6.1")
			if err := os.Rename(kernel, filepath.Join(dir, "elsewhere")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("../elsewhere", kernel); err != nil {
				t.Fatal(err)
			}
		}, "found no /boot/vmlinuz-6.1"},
		"no modules": {func(t *testing.T, dir string, _ *manifest.Fragment) {
			if err := os.RemoveAll(filepath.Join(dir, "usr/lib/modules/6.1")); err != nil {
				t.Fatal(err)
			}
		}, "no modules of 6.1"},
		"component changed":            {func(t *testing.T, dir string, _ *manifest.Fragment) { writeFile(t, dir, "usr/local/sbin/runc", "evil") }, "component runc: /usr/local/sbin/runc has sha256"},
		"component of another version": {func(_ *testing.T, _ string, f *manifest.Fragment) { f.Components[0].Version = "1.5.3" }, "component runc: found 1.5.3"},
		"component not locked":         {func(_ *testing.T, _ string, f *manifest.Fragment) { f.Components[0].Name = "crun" }, "component crun: found 1.5.2, expected none"},
		"image of another digest":      {func(_ *testing.T, _ string, f *manifest.Fragment) { f.Containers[0].Digest = "sha256:" + sha("x") }, "container image pause:3: found sha256:"},
		"image not preloaded":          {func(_ *testing.T, _ string, f *manifest.Fragment) { f.Containers = nil }, "container image pause:3: found none"},
		"image's content changed": {func(t *testing.T, dir string, _ *manifest.Fragment) {
			writeFile(t, dir, containerdBlobs+"/"+sha("image"), "evil")
		}, "containerd's content"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, l, f := lockedRoot(t)
			tc.change(t, dir, &f)
			root, err := target.Open(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			got, err := lockDifferences(root.Root(), l, f)
			if err != nil {
				t.Fatal(err)
			}
			if tc.want == "" && len(got) > 0 || tc.want != "" && !strings.Contains(strings.Join(got, "\n"), tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
