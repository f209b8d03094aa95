//go:build integration

package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// mountTmpfs mounts a tmpfs of size on a new directory until the test ends.
func mountTmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mounting a tmpfs (this test needs root): %v", err)
	}
	t.Cleanup(func() {
		// Propagation may have stacked a copy on it: EINVAL is "not mounted".
		var err error
		for err == nil {
			err = unix.Unmount(dir, unix.MNT_DETACH)
		}
		if !errors.Is(err, unix.EINVAL) {
			t.Error(err)
		}
	})
	return dir
}

func TestDiskFull(t *testing.T) {
	dir := mountTmpfs(t, "1m")
	s := open(t, dir)
	k := key(t, "big")
	_, err := s.Do(t.Context(), k, writes("f", strings.Repeat("x", 2<<20)))
	if !errors.Is(err, unix.ENOSPC) || exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("Do on a full disk: exit code %d, %v", exitcode.Of(err), err)
	}
	if diff := cmp.Diff([]string{}, left(t, s, tmpDir, entriesDir)); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}
	// The space came back, so a smaller one fits.
	if _, err := s.Do(t.Context(), k, writes("f", strings.Repeat("x", 512<<10))); err != nil {
		t.Error(err)
	}
}

func TestReadOnlyStore(t *testing.T) {
	dir := mountTmpfs(t, "1m")
	have, missing := key(t, "have"), key(t, "missing")
	if _, err := open(t, dir).Do(t.Context(), have, writes("f", "x")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if _, err := s.Do(t.Context(), have, mustNotRun(t)); err != nil {
		t.Errorf("an entry that is there: %v", err)
	}
	_, err := s.Do(t.Context(), missing, mustNotRun(t))
	if !errors.Is(err, unix.EROFS) || exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), EnvDir) {
		t.Errorf("an entry that is not: exit code %d, %v", exitcode.Of(err), err)
	}
	if _, _, err := s.Scratch("x"); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("Scratch: exit code %d, %v", exitcode.Of(err), err)
	}
}

// A store that was never written to has no directories to be refused in.
func TestReadOnlyEmptyStore(t *testing.T) {
	dir := mountTmpfs(t, "1m")
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	_, doing := s.Do(t.Context(), key(t, "missing"), mustNotRun(t))
	_, _, scratch := s.Scratch("x")
	for name, err := range map[string]error{"Do": doing, "Scratch": scratch} {
		if !errors.Is(err, unix.EROFS) || exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "cannot be written") || !strings.Contains(err.Error(), EnvDir) {
			t.Errorf("%s: exit code %d, %v", name, exitcode.Of(err), err)
		}
	}
}

// A killed owner's scratch directory with a bind mount in it: what is mounted
// must survive the sweep.
func TestSweepUnmountsFirst(t *testing.T) {
	s := open(t, t.TempDir())
	precious := mountTmpfs(t, "1m")
	if err := writes("sub/file", "precious")(t.Context(), precious); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", filepath.Join(precious, "sub"), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := writes("inner", "precious")(context.Background(), filepath.Join(precious, "sub")); err != nil {
		t.Fatal(err)
	}
	// Shared propagation is what systemd makes of every mount.
	if err := unix.Mount("", precious, "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(s.dir, scratchDir, "rootfs-1")
	if err := os.MkdirAll(filepath.Join(stale, "mnt"), 0o755); err != nil {
		t.Fatal(err)
	}
	// Twice on one point, as a rerun of a careless script would.
	for range 2 {
		if err := unix.Mount(precious, filepath.Join(stale, "mnt"), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			t.Fatal(err)
		}
	}
	open(t, s.dir)
	if diff := cmp.Diff([]string{}, left(t, s, scratchDir)); diff != "" {
		t.Errorf("left in scratch (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(precious, "sub/inner")); err != nil {
		t.Errorf("the sweep harmed what was mounted: %v", err)
	}
}
