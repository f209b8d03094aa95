//go:build integration

package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

var old = time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)

// someTree makes the same tree each time, its files in another order and at
// another time. It has what mke2fs keeps in a way of its own.
func someTree(t *testing.T, backwards bool) *rooted.Dir {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"usr/lib/shim/shimx64.efi.signed": "shim", "usr/lib/shim/mmx64.efi.signed": "mm",
		"usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": strings.Repeat("grub", 100_000),
		"etc/ümlaut": "", "etc/Zzz": "1", "etc/aaa": "2",
	}
	// A directory of many blocks.
	for i := range 3000 {
		files[fmt.Sprintf("many/a name that is long enough to fill blocks %d", i)] = fmt.Sprint(i)
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	if backwards {
		slices.Reverse(names)
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(files[name]), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.Link(at("etc/aaa"), at("etc/hard link")),
		os.Symlink(strings.Repeat("long/", 30), at("etc/long link")),
		os.Symlink("short", at("etc/short link")),
		unix.Setxattr(at("etc/Zzz"), "user.test", bytes.Repeat([]byte("x"), 300), 0),
		os.Chtimes(at("etc/Zzz"), time.Now(), old),
		os.Chtimes(at("etc/aaa"), old, someTime.Add(time.Hour)),
		os.Chmod(dir, 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := rooted.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// The same tree gives the same disk: whoever made it, when, where and in
// whatever order.
func TestTheSameTreeGivesTheSameDisk(t *testing.T) {
	fw, err := FirmwareOf("amd64")
	if err != nil {
		t.Fatal(err)
	}
	fw.BIOS = false // boot.img would have to be GRUB's
	l, err := NewLayout(fw, 640<<20, 34<<20, "root", "seed", someTime)
	if err != nil {
		t.Fatal(err)
	}
	var first string
	for i, zone := range []string{"UTC", "Pacific/Kiritimati"} {
		t.Setenv("TZ", zone)
		path := filepath.Join(t.TempDir(), "disk.raw")
		if err := Assemble(t.Context(), run.Host{}, someTree(t, i == 1), fw, "debian", l, path, t.TempDir()); err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = path
			time.Sleep(2100 * time.Millisecond) // FAT counts two seconds
			continue
		}
		if out, err := exec.Command("cmp", first, path).CombinedOutput(); err != nil {
			t.Errorf("the second disk differs: %s", out)
		}
	}
	for file, want := range map[string]string{
		"/etc/Zzz": fmt.Sprintf("mtime: 0x%x:00000000", old.Unix()), // as it was; mke2fs takes whole seconds
		"/etc/aaa": fmt.Sprintf("mtime: 0x%x:00000000", someTime.Unix()),
		"/many":    fmt.Sprintf("crtime: 0x%x:00000000", someTime.Unix()),
	} {
		out, err := exec.Command("debugfs", "-R", "stat "+file, fmt.Sprintf("%s?offset=%d", first, l.Root.Offset())).Output()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, want %q in:\n%s", file, err, want, out)
		}
		if file == "/etc/Zzz" && !strings.Contains(string(out), "user.test (300)") {
			t.Errorf("its attribute is lost:\n%s", out)
		}
	}
	// Someone else's file system is not touched.
	if err := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-I", "128", "-O", "^metadata_csum", first).Run(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(first, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := clampTimes(f, 0, someTime); err == nil || !strings.Contains(err.Error(), "inodes of 128 bytes") {
		t.Errorf("got %v, want a refusal", err)
	}
}
