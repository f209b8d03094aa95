package rooted_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
)

// newRoot returns a root directory beside an "outside" directory that nothing
// may touch, and a function that fails if something did.
func newRoot(t *testing.T) (root *rooted.Dir, dir string, untouched func()) {
	t.Helper()
	top := t.TempDir()
	dir = filepath.Join(top, "root")
	for _, d := range []string{"root/etc", "root/usr/bin", "outside"} {
		if err := os.MkdirAll(filepath.Join(top, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(top, "outside", "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := rooted.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir, func() {
		t.Helper()
		content, err := os.ReadFile(secret)
		if err != nil || string(content) != "secret" {
			t.Errorf("outside/secret: %q, %v", content, err)
		}
		entries, err := os.ReadDir(filepath.Dir(secret))
		if err != nil || len(entries) != 1 {
			t.Errorf("outside has %v, %v, want one file", entries, err)
		}
		entries, err = os.ReadDir(top)
		if err != nil || len(entries) != 2 {
			t.Errorf("the parent has %v, %v, want two directories", entries, err)
		}
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func TestLinksStayInside(t *testing.T) {
	t.Parallel()
	root, dir, untouched := newRoot(t)
	outside := filepath.Join(filepath.Dir(dir), "outside")
	link(t, outside, filepath.Join(dir, "abs"))
	link(t, "../../../../../../outside", filepath.Join(dir, "rel"))
	link(t, outside+"/secret", filepath.Join(dir, "file"))
	link(t, "/etc", filepath.Join(dir, "usr/etc"))

	for _, name := range []string{"abs/secret", "rel/secret", "file", "../outside/secret", "/etc/../../outside/secret", outside + "/secret"} {
		if content, err := root.ReadFile(name); err == nil {
			t.Errorf("ReadFile(%q) got out and read %q", name, content)
		}
	}
	for _, name := range []string{"abs/new", "rel/new", "file", "../outside/new", "x/../../outside/new"} {
		_ = root.WriteFile(name, []byte("written"), 0o644)
		_ = root.MkdirAll(name+".d", 0o755)
		_ = root.Symlink("x", name+".l")
		_ = root.Chmod(name, 0o777)
		_ = root.Remove(name)
		untouched()
	}
	// An absolute link means what it would mean to the system in the root.
	if err := root.WriteFile("/usr/etc/hosts", []byte("in"), 0o644); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(dir, "etc/hosts")); err != nil || string(content) != "in" {
		t.Errorf("/usr/etc/hosts: %q, %v", content, err)
	}
}

func TestWriteFileModeAndParents(t *testing.T) {
	t.Parallel()
	root, dir, _ := newRoot(t)
	if err := root.WriteFile("/a/b/tool", []byte("long content"), 0o4755|fs.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	if err := root.WriteFile("a/b/tool", []byte("short"), 0o640); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "a/b/tool"))
	if err != nil || info.Mode() != 0o640 || info.Size() != 5 {
		t.Errorf("got %v, %v, want 5 bytes with mode 0640", info, err)
	}
	if err := root.WriteFile("suid", nil, 0o755|fs.ModeSetuid|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if info, err := root.Stat("suid"); err != nil || info.Mode() != 0o755|fs.ModeSetuid|fs.ModeSticky {
		t.Errorf("got %v, %v", info, err)
	}
	if info, err := root.Stat("/a/b"); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("a made parent is %v, %v, want 0755", info, err)
	}
}

func TestSpecialFilesAreRefused(t *testing.T) {
	t.Parallel()
	root, dir, _ := newRoot(t)
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := root.ReadFile("fifo"); err == nil {
		t.Error("a FIFO was read")
	}
	if err := root.WriteFile("fifo", nil, 0o644); err == nil {
		t.Error("a FIFO was written")
	}
	if _, err := root.ReadFile("etc"); err == nil {
		t.Error("a directory was read")
	}
	if err := root.WriteFile("etc", nil, 0o644); err == nil {
		t.Error("a directory was written")
	}
}

func TestLinkAndRemove(t *testing.T) {
	t.Parallel()
	root, dir, untouched := newRoot(t)
	if err := root.Symlink("/first", "etc/link"); err != nil {
		t.Fatal(err)
	}
	if err := root.Symlink("../second", "/etc/link"); err != nil {
		t.Fatal(err)
	}
	if got, err := root.Readlink("etc/link"); err != nil || got != "../second" {
		t.Errorf("got %q, %v", got, err)
	}
	if info, err := root.Lstat("etc/link"); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("Lstat: %v, %v", info, err)
	}
	if _, err := root.Stat("etc/link"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of a dangling link: %v", err)
	}
	if err := root.Symlink("x", "usr"); err == nil {
		t.Error("a directory was replaced by a link")
	}
	link(t, filepath.Join(filepath.Dir(dir), "outside", "secret"), filepath.Join(dir, "out"))
	for _, name := range []string{"out", "etc/link", "etc", "no/such/file"} {
		if err := root.Remove(name); err != nil {
			t.Errorf("Remove(%q): %v", name, err)
		}
	}
	untouched()
	if err := root.Remove("/"); err == nil {
		t.Error("the root itself was removed")
	}
	if err := root.Remove("usr"); err == nil {
		t.Error("a directory that is not empty was removed")
	}
}
