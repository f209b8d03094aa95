package machine

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// shortTempDir is a directory whose name leaves room for a socket's.
func shortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func scratchRoot(base string) string {
	return filepath.Join(base, "nodeimage-machine-"+strconv.Itoa(os.Getuid()))
}

func scratchDirs(t *testing.T, base string) []string {
	t.Helper()
	entries, err := os.ReadDir(scratchRoot(base))
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, entry := range entries {
		paths = append(paths, filepath.Join(scratchRoot(base), entry.Name()))
	}
	return paths
}

func TestScratchSweepsOnlyTheDead(t *testing.T) {
	t.Parallel()
	base := shortTempDir(t)
	living, err := newScratch(base)
	if err != nil {
		t.Fatal(err)
	}
	dead, err := newScratch(base)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dead.file("overlay"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dead.lock.Close(); err != nil { // as the kernel does
		t.Fatal(err)
	}
	s, err := newScratch(base)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead.path); !os.IsNotExist(err) {
		t.Errorf("the dead one's directory: %v: expected it gone", err)
	}
	if _, err := os.Stat(living.path); err != nil {
		t.Errorf("the living one's directory: %v", err)
	}
	for _, s := range []*scratch{s, living} {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	}
	if left := scratchDirs(t, base); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestScratchRefuses(t *testing.T) {
	t.Parallel()
	t.Run("a directory that others may write to", func(t *testing.T) {
		t.Parallel()
		base := shortTempDir(t)
		if err := os.Mkdir(scratchRoot(base), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(scratchRoot(base), 0o777); err != nil {
			t.Fatal(err)
		}
		if _, err := newScratch(base); err == nil || !strings.Contains(err.Error(), "not this user's alone") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a link that somebody else laid", func(t *testing.T) {
		t.Parallel()
		base := shortTempDir(t)
		if err := os.Symlink(t.TempDir(), scratchRoot(base)); err != nil {
			t.Fatal(err)
		}
		if _, err := newScratch(base); err == nil || !strings.Contains(err.Error(), "not this user's alone") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a name too long for a socket", func(t *testing.T) {
		t.Parallel()
		base := filepath.Join(shortTempDir(t), strings.Repeat("x", 90))
		_, err := newScratch(base)
		if err == nil || !strings.Contains(err.Error(), "choose a shorter scratch directory") {
			t.Errorf("got %v", err)
		}
		if left := scratchDirs(t, base); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}
