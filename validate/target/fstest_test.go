package target

import (
	"io/fs"
	"slices"
	"testing"
	"testing/fstest"
)

// TestIsAnFS lets the standard library judge. The images with a file of 1 TiB
// are left out, since it reads everything.
func TestIsAnFS(t *testing.T) {
	t.Parallel()
	all := roots(t)
	esp, err := mustOpen(t, "testdata/disk.qcow2").ESP()
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(esp, "EFI/BOOT/BOOTX64.EFI", "EFI/A long name.conf"); err != nil {
		t.Errorf("ESP: %v", err)
	}
	for _, kind := range []string{"directory", "walking directory", "tar", "tar.gz", "ext2", "inline"} {
		r := all[kind]
		if r == nil {
			t.Fatalf("no target %q", kind)
		}
		if err := fstest.TestFS(openable{r}, "etc/hostname", "usr/bin/su", "etc/kubernetes"); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// openable hides what TestFS cannot open: it opens all names, links included.
type openable struct{ FS }

func hide(list []fs.DirEntry) []fs.DirEntry {
	return slices.DeleteFunc(list, func(e fs.DirEntry) bool {
		return slices.Contains([]string{"dev", "dangling", "loop-a", "loop-b"}, e.Name())
	})
}

func (o openable) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := o.FS.ReadDir(name)
	return hide(list), err
}

func (o openable) Open(name string) (fs.File, error) {
	f, err := o.FS.Open(name)
	if d, ok := f.(*dirFile); ok {
		list, err := o.ReadDir(name)
		if err != nil {
			return nil, err
		}
		d.list, d.read = list, true
	}
	return f, err
}
