package store

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestScratch(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	dir, release, err := s.Scratch("rootfs")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The living owner's directory survives both sweeps.
	open(t, s.dir)
	other, releaseOther, err := s.Scratch("rootfs")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a/b")); err != nil || other == dir {
		t.Fatalf("a second scratch directory %s harmed the first: %v", other, err)
	}
	for range 2 {
		if err := release(); err != nil {
			t.Error(err)
		}
	}
	if err := releaseOther(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{}, left(t, s, scratchDir)); diff != "" {
		t.Errorf("left in scratch (-want +got):\n%s", diff)
	}
}

func TestScratchConcurrently(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				dir, release, err := s.Scratch("x")
				if err != nil {
					t.Error(err)
					return
				}
				if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o644); err != nil {
					t.Error(err)
				}
				if err := release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if diff := cmp.Diff([]string{}, left(t, s, scratchDir)); diff != "" {
		t.Errorf("left in scratch (-want +got):\n%s", diff)
	}
}

func TestScratchPrefix(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for _, prefix := range []string{"", "a/b", "*"} {
		if _, _, err := s.Scratch(prefix); err == nil {
			t.Errorf("prefix %q was accepted", prefix)
		}
	}
}

func TestRemoveTreeReadOnlyDirectories(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mod")
	if err := os.MkdirAll(filepath.Join(dir, "pkg"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pkg/go.mod"), nil, 0o444); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "pkg"), 0o555); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
}

func TestTopMounts(t *testing.T) {
	t.Parallel()
	const mountinfo = `22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:5 / /s/scratch/a/dev rw shared:2 - devtmpfs udev rw
31 30 0:20 / /s/scratch/a/dev/pts rw shared:3 - devpts devpts rw
32 22 0:21 / /s/scratch/a/with\040space rw - tmpfs tmpfs rw
33 22 0:22 / /s/scratch/ab rw - tmpfs tmpfs rw
34 30 0:5 / /s/scratch/a/dev rw - tmpfs tmpfs rw
`
	want := []string{"/s/scratch/a/dev", "/s/scratch/a/with space"}
	if diff := cmp.Diff(want, topMounts([]byte(mountinfo), "/s/scratch/a")); diff != "" {
		t.Errorf("topMounts (-want +got):\n%s", diff)
	}
}
