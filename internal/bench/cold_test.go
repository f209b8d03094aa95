package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestComponentsOnly(t *testing.T) {
	from := t.TempDir()
	t.Setenv("NODEIMAGE_CACHE", from)
	for _, name := range []string{
		"entries/a/data/kubelet", "entries/a/index.json", "entries/b/data/rootfs.tar", "entries/b/index.json",
		"entries/c/data/boot/initrd.img-6.12", "entries/d/data/images/1.tar", "blobs/00/00ff", "locks/x",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(from, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(from, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("kubelet", filepath.Join(from, "entries/a/data/link")); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "store")
	if err := componentsOnly(to); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(to, "*/*/data/*"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"entries/a/data/kubelet", "entries/a/data/link", "entries/d/data/images"}
	for i := range want {
		want[i] = filepath.Join(to, want[i])
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSectorsWritten(t *testing.T) {
	t.Parallel()
	for stat, want := range map[string]int64{
		"   9512     1 738342  3871  79012  41250 9153064 77777 0 1 2 3 4 5 6 7 8\n": 9153064,
		"1 2 3 4 5 6 x": 0, "1 2 3": 0, "": 0,
	} {
		if got := sectorsWritten(stat); got != want {
			t.Errorf("%q: %d, want %d", stat, got, want)
		}
	}
	if got := written("/proc"); got != 0 {
		t.Errorf("/proc is on no disk, and %d bytes were written to it", got)
	}
}
