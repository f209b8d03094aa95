package target

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// tree is what testdata/make.sh puts into the images, without device nodes.
var tree = []tar.Header{
	{Name: "etc/kubernetes", Typeflag: tar.TypeDir, Mode: 0o755},
	{Name: "etc/hostname", Typeflag: tar.TypeReg, Mode: 0o644, Linkname: "node\n"}, // the content
	{Name: "etc/shadow", Typeflag: tar.TypeReg, Mode: 0o644, Linkname: "inside\n"},
	{Name: "etc/shadow-link", Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"},
	{Name: "etc/up", Typeflag: tar.TypeSymlink, Linkname: "../../../../../etc/shadow"},
	{Name: "etc/loop-a", Typeflag: tar.TypeSymlink, Linkname: "loop-b"},
	{Name: "etc/loop-b", Typeflag: tar.TypeSymlink, Linkname: "loop-a"},
	{Name: "etc/dangling", Typeflag: tar.TypeSymlink, Linkname: "nowhere"},
	{Name: "etc/here", Typeflag: tar.TypeSymlink, Linkname: "."},
	{Name: "etc/slow", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("./", 50) + "hostname"},
	{Name: "usr/bin/su", Typeflag: tar.TypeReg, Mode: 0o4755, Linkname: "\x7fELF"},
	{Name: "usr/bin/ping", Typeflag: tar.TypeReg, Mode: 0o755, Linkname: "\x7fELF"},
	{Name: "usr/bin/ping6", Typeflag: tar.TypeLink, Linkname: "usr/bin/ping"},
	{Name: "bin", Typeflag: tar.TypeSymlink, Linkname: "usr/bin"},
	{Name: "dev/pipe", Typeflag: tar.TypeFifo, Mode: 0o644},
}

func writeTree(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range tree {
		p := filepath.Join(dir, h.Name)
		must(os.MkdirAll(filepath.Dir(p), 0o755))
		switch h.Typeflag {
		case tar.TypeDir:
			must(os.MkdirAll(p, 0o755))
		case tar.TypeReg:
			must(os.WriteFile(p, []byte(h.Linkname), 0o644))
			must(os.Chmod(p, h.FileInfo().Mode()))
		case tar.TypeSymlink:
			must(os.Symlink(h.Linkname, p))
		case tar.TypeLink:
			must(os.Link(filepath.Join(dir, h.Linkname), p))
		case tar.TypeFifo:
			must(syscall.Mkfifo(p, 0o644))
		}
	}
	return dir
}

func writeTar(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range tree {
		var content string
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname = h.Linkname, ""
			h.Size = int64(len(content))
		}
		h.Name = "./" + h.Name
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gunzip(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func save(t testing.TB, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func mustOpen(t testing.TB, path string) *Target {
	t.Helper()
	tg, err := Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tg.Close(); err != nil {
			t.Error(err)
		}
	})
	return tg
}

// roots returns the same tree as every kind of target.
func roots(t testing.TB) map[string]FS {
	t.Helper()
	packed := bytes.Buffer{}
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(writeTar(t)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	dir := writeTree(t)
	out := map[string]FS{
		"directory":  mustOpen(t, dir).Root(),
		"tar":        mustOpen(t, save(t, writeTar(t))).Root(),
		"tar.gz":     mustOpen(t, save(t, packed.Bytes())).Root(),
		"ext4":       mustOpen(t, save(t, gunzip(t, "ext4.img"))).Root(),
		"ext2":       mustOpen(t, save(t, gunzip(t, "ext2.img"))).Root(),
		"inline":     mustOpen(t, save(t, gunzip(t, "inline.img"))).Root(),
		"raw disk":   mustOpen(t, save(t, gunzip(t, "disk.raw"))).Root(),
		"qcow2 disk": mustOpen(t, "testdata/disk.qcow2").Root(),
		"overlay":    mustOpen(t, "testdata/overlay.qcow2").Root(),
	}
	addWalkingDir(t, out, dir)
	return out
}

func TestLinksStayInside(t *testing.T) {
	t.Parallel()
	for kind, r := range roots(t) {
		for name, want := range map[string]string{
			"etc/hostname":                "node\n",
			"etc/shadow-link":             "inside\n", // not the host's /etc/shadow
			"etc/up":                      "inside\n",
			"etc/slow":                    "node\n",
			"etc/here/here/here/hostname": "node\n",
			"bin/su":                      "\x7fELF",
			"usr/bin/ping6":               "\x7fELF",
		} {
			got, err := r.ReadFile(name)
			if err != nil || string(got) != want {
				t.Errorf("%s: %s holds %q (%v), want %q", kind, name, got, err, want)
			}
		}
		for name, want := range map[string]error{
			"etc/loop-a":          syscall.ELOOP,
			"etc/loop-a/x":        syscall.ELOOP,
			"etc/dangling":        fs.ErrNotExist,
			"etc/none":            fs.ErrNotExist,
			"etc/hostname/x":      syscall.ENOTDIR,
			"etc/shadow-link/x":   syscall.ENOTDIR,
			"/etc/hostname":       fs.ErrInvalid,
			"../etc/hostname":     fs.ErrInvalid,
			"etc/../etc/hostname": fs.ErrInvalid,
			"":                    fs.ErrInvalid,
		} {
			_, err := r.ReadFile(name)
			var pe *fs.PathError
			if !errors.Is(err, want) || !errors.As(err, &pe) || pe.Path != name {
				t.Errorf("%s: %q: %v, want an *fs.PathError of %v", kind, name, err, want)
			}
		}
		for name, want := range map[string]string{
			"bin/su": "usr/bin/su", "etc/up": "etc/shadow", "etc/here/here": "etc", ".": ".",
		} {
			if got, err := r.Resolve(name); err != nil || got != want {
				t.Errorf("%s: %s resolves to %q (%v), want %q", kind, name, got, err, want)
			}
		}
		for name, want := range map[string]string{"etc/shadow-link": "/etc/shadow", "bin": "usr/bin", "etc/loop-a": "loop-b"} {
			if got, err := r.ReadLink(name); err != nil || got != want {
				t.Errorf("%s: link %s is %q (%v), want %q", kind, name, got, err, want)
			}
		}
		if _, err := r.ReadLink("etc/hostname"); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: ReadLink of a file: %v, want fs.ErrInvalid", kind, err)
		}
	}
}

func TestSpecialFilesAreNotOpened(t *testing.T) {
	t.Parallel()
	for kind, r := range roots(t) {
		// Opening a pipe without a writer would block for ever.
		if _, err := r.Open("dev/pipe"); err == nil || !strings.Contains(err.Error(), "is a named pipe, want a regular file") {
			t.Errorf("%s: opening a pipe: %v", kind, err)
		}
		if fi, err := r.Stat("dev/pipe"); err != nil || fi.Mode().Type() != fs.ModeNamedPipe {
			t.Errorf("%s: Stat of a pipe: %v, %v", kind, fi, err)
		}
		if _, err := r.ReadFile("etc"); err == nil || !strings.Contains(err.Error(), "is a directory") {
			t.Errorf("%s: reading a directory: %v", kind, err)
		}
	}
}

func TestStatAndLstat(t *testing.T) {
	t.Parallel()
	for kind, r := range roots(t) {
		su, err := r.Stat("bin/su")
		if err != nil || su.Mode() != 0o755|fs.ModeSetuid || su.Name() != "su" || su.Size() != 4 {
			t.Errorf("%s: bin/su is %v (%v), want setuid 0755 and 4 bytes", kind, su, err)
		}
		link, err := r.Lstat("etc/shadow-link")
		if err != nil || link.Mode().Type() != fs.ModeSymlink {
			t.Errorf("%s: Lstat of a link: %v (%v)", kind, link, err)
		}
		followed, err := r.Stat("etc/shadow-link")
		if err != nil || !followed.Mode().IsRegular() || followed.Size() != int64(len("inside\n")) {
			t.Errorf("%s: Stat of a link: %v (%v)", kind, followed, err)
		}
		ping, err := r.Stat("usr/bin/ping")
		if err != nil {
			t.Fatal(err)
		}
		if sys, ok := SysOf(ping); !ok || sys.Links != 2 {
			t.Errorf("%s: SysOf(usr/bin/ping) = %+v, %v, want 2 links", kind, sys, ok)
		}
		entries, err := r.ReadDir("etc")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
			fi, err := e.Info()
			if err != nil || fi.Mode().Type() != e.Type() {
				t.Errorf("%s: entry %v and its info %v (%v) differ", kind, e, fi, err)
			}
		}
		want := []string{"dangling", "here", "hostname", "kubernetes", "loop-a", "loop-b", "shadow", "shadow-link", "slow", "up"}
		if d := cmp.Diff(want, names); d != "" {
			t.Errorf("%s: names in etc (-want +got):\n%s", kind, d)
		}
	}
}

func TestCapabilitiesAndOwners(t *testing.T) {
	t.Parallel()
	r := mustOpen(t, "testdata/disk.qcow2").Root()
	c, ok, err := FileCapabilities(r, "usr/bin/ping")
	if want := (Capabilities{Permitted: 1 << 13, Effective: true}); err != nil || !ok || c != want {
		t.Errorf("capabilities of ping: %+v, %v, %v, want %+v", c, ok, err, want)
	}
	if c, ok, err := FileCapabilities(r, "usr/bin/su"); ok || err != nil {
		t.Errorf("capabilities of su: %+v, %v, %v, want none", c, ok, err)
	}
	want := map[string]Sys{
		"usr/bin/su": {UID: 12, GID: 70000, Links: 1, Allocated: 1024},
		"dev/disk":   {Links: 1, Major: 259, Minor: 70000},
		"huge":       {Links: 1},
	}
	for name, w := range want {
		fi, err := r.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := SysOf(fi)
		got.Inode = 0
		if d := cmp.Diff(w, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	for name, b := range map[string]string{"empty": "", "revision 9": "\x00\x00\x00\x09", "short": "\x01\x00\x00\x02\x00"} {
		if _, err := parseCapabilities([]byte(b)); exitcode.Of(err) != exitcode.Usage {
			t.Errorf("%s capabilities: %v, want an error with exit code 2", name, err)
		}
	}
}

func TestReadFileIsBounded(t *testing.T) {
	t.Parallel()
	r := mustOpen(t, "testdata/disk.qcow2").Root()
	if _, err := r.ReadFile("huge"); err == nil || !strings.Contains(err.Error(), "1099511627776 bytes long") || exitcode.Of(err) != exitcode.Usage {
		t.Errorf("reading a file of 1 TiB: %v, want an error with exit code 2", err)
	}
	for kind, r := range roots(t) {
		if b, err := r.ReadFileMax("etc/hostname", 5); err != nil || string(b) != "node\n" {
			t.Errorf("%s: at the limit: %q, %v", kind, b, err)
		}
		if _, err := r.ReadFileMax("etc/hostname", 4); exitcode.Of(err) != exitcode.Usage {
			t.Errorf("%s: over the limit: %v, want an error with exit code 2", kind, err)
		}
	}
}

func TestRel(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/etc/fstab": "etc/fstab", "etc//fstab/": "etc/fstab", "/": ".", "": ".", "../../x": "x", "/a/../../b": "b",
	} {
		if got := Rel(in); got != want {
			t.Errorf("Rel(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFilesCanBeReadAtRandom(t *testing.T) {
	t.Parallel()
	for kind, r := range roots(t) {
		f, err := r.Open("etc/shadow")
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4)
		if n, err := f.(File).ReadAt(b, 2); n != 4 || err != nil || string(b) != "side" {
			t.Errorf("%s: ReadAt: %q, %v", kind, b[:n], err)
		}
		if _, err := f.(File).Seek(-2, io.SeekEnd); err != nil {
			t.Errorf("%s: Seek: %v", kind, err)
		}
		if rest, err := io.ReadAll(f); err != nil || string(rest) != "e\n" {
			t.Errorf("%s: after Seek: %q, %v", kind, rest, err)
		}
		if err := f.Close(); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
