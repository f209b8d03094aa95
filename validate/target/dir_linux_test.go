package target

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// addWalkingDir adds a directory that is read without openat2.
func addWalkingDir(t testing.TB, out map[string]FS, dir string) {
	t.Helper()
	v, c, err := openDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	v.root.(*dirNode).d.walk = true
	out["walking directory"] = v
}

func TestDirectoryDoesNotLeadOutside(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(outside, "root")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"abs": filepath.Join(outside, "secret"), "rel": "../secret", "far": strings.Repeat("../", 60) + outside[1:] + "/secret", "dir": outside,
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	r := mustOpen(t, dir).Root()
	for _, name := range []string{"abs", "rel", "far", "dir/secret"} {
		if b, err := r.ReadFile(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v, want fs.ErrNotExist", name, b, err)
		}
	}
}

// TestDirectoryThatChanges swaps a directory for a link between looking and
// opening, which is what an attacker on a live system would try.
func TestDirectoryThatChanges(t *testing.T) {
	t.Parallel()
	for _, walk := range []bool{false, true} {
		outside := t.TempDir()
		dir := filepath.Join(outside, "root")
		for p, content := range map[string]string{"root/d/file": "inside", "other/file": "outside"} {
			p = filepath.Join(outside, p)
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		v, c, err := openDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		v.root.(*dirNode).d.walk = walk
		n, _, err := v.find("open", "d/file", true)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := n.open("file"); err != nil {
			t.Fatalf("before the swap: %v", err)
		} else if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "was-d")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../other", filepath.Join(dir, "d")); err != nil {
			t.Fatal(err)
		}
		if _, err := n.open("file"); err == nil {
			t.Errorf("walk=%v: a link that was put in the way is followed", walk)
		}
		if _, err := n.xattrs(); err == nil {
			t.Errorf("walk=%v: attributes are read through a link that was put in the way", walk)
		}
	}
}

// TestProc reads files whose size is 0 and whose links are not links.
func TestProc(t *testing.T) {
	t.Parallel()
	r := mustOpen(t, "/").Root()
	b, err := r.ReadFile("proc/self/status")
	if err != nil || !strings.Contains(string(b), "Pid:") {
		t.Errorf("/proc/self/status: %q, %v", b, err)
	}
	// exe reads as a path, and is resolved as one.
	if _, err := r.Resolve("proc/self/exe"); err != nil {
		t.Errorf("/proc/self/exe: %v", err)
	}
}
