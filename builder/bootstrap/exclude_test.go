package bootstrap

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The hook empties what dpkg is to leave out, tells dpkg so, and leaves the
// times of the directories as they were.
func TestExclude(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "a root")
	old := time.Date(2020, 1, 2, 3, 4, 5, 678900000, time.UTC)
	for _, name := range []string{
		"usr/share/doc/bash/copyright", "usr/share/doc/bash/README", "usr/share/man/man1/ls.1", "usr/share/man/.hidden",
		"usr/share/locale/de/LC_MESSAGES/x.mo", "usr/share/perl5/x.pm", "etc/dpkg/dpkg.cfg.d/mine",
	} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("x"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	dirs := []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "etc/dpkg/dpkg.cfg.d"}
	for _, dir := range dirs {
		if err := os.Chtimes(filepath.Join(root, dir), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("sh", "-c", exclude(), "sh", root).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, dir := range dirs {
		if info, err := os.Stat(filepath.Join(root, dir)); err != nil || !info.ModTime().Equal(old) {
			t.Errorf("%s: time %v, %v, want %v", dir, info.ModTime(), err, old)
		}
	}
	for _, dir := range dirs[:3] {
		if left, err := os.ReadDir(filepath.Join(root, dir)); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", dir, left, err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "usr/share/perl5/x.pm")); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 2 {
		t.Errorf("the root has %v, %v, want etc and usr", left, err)
	}
	config, err := os.ReadFile(filepath.Join(root, "etc/dpkg/dpkg.cfg.d/99mmdebstrap"))
	if want := strings.Join(excluded[:], "\n") + "\n"; err != nil || string(config) != want {
		t.Errorf("dpkg is told %q, %v, want %q", config, err, want)
	}
	// Without a dpkg there is nothing to tell.
	if err := exec.Command("sh", "-c", exclude(), "sh", t.TempDir()).Run(); err == nil {
		t.Error("a root without dpkg passes")
	}
	if _, err := os.Stat(filepath.Join(root, "usr/share/info")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("/usr/share/info: %v, want none", err)
	}
}
