//go:build integration

package target

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	diskfs "github.com/diskfs/go-diskfs/filesystem/ext4"
)

// These tests need root (device nodes, capabilities), qemu-utils, e2fsprogs,
// dosfstools, mtools and libcap2-bin.

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, out, stderr.Bytes())
	}
	return string(out)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// source writes a tree with all that an ext4 file system stores in more than
// one way.
func source(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	r := rand.New(rand.NewPCG(4, 2))
	put := func(name string, b []byte) {
		t.Helper()
		p := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, b, 0o644))
	}
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	for _, n := range []int{0, 1, 59, 60, 61, 100, 150, 4095, 4096, 4097, 3 << 20} {
		put(fmt.Sprintf("sizes/%d", n), noise(n))
	}
	for i := range 3000 { // an index of two levels at 1 KiB a block
		put(fmt.Sprintf("large/a-name-of-some-length-%05d", i), nil)
	}
	for _, n := range []int{1, 59, 60, 61, 1000} {
		must(t, os.Symlink(strings.Repeat("x", n), filepath.Join(dir, fmt.Sprintf("sizes/link%d", n))))
	}
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	must(t, err)
	for i := range 2000 { // pieces enough for an extent tree of two levels
		_, err := sparse.WriteAt([]byte(strconv.Itoa(i)), int64(i)*20000+int64(r.IntN(5000)))
		must(t, err)
	}
	must(t, sparse.Truncate(64<<20))
	must(t, sparse.Close())
	put("bin/caps", noise(1000))
	put("bin/set", noise(1000))
	must(t, os.Chown(filepath.Join(dir, "bin/set"), 1234, 100000))
	must(t, os.Chmod(filepath.Join(dir, "bin/set"), 0o755|fs.ModeSetuid|fs.ModeSetgid))
	must(t, os.Mkdir(filepath.Join(dir, "tmp"), 0o777))
	must(t, os.Chmod(filepath.Join(dir, "tmp"), 0o777|fs.ModeSticky))
	must(t, os.Link(filepath.Join(dir, "bin/caps"), filepath.Join(dir, "bin/hard")))
	run(t, "setcap", "cap_net_raw,cap_sys_admin+ep", filepath.Join(dir, "bin/caps"))
	run(t, "mknod", filepath.Join(dir, "null"), "c", "1", "3")
	run(t, "mknod", filepath.Join(dir, "disk"), "b", "259", "70000")
	run(t, "mkfifo", filepath.Join(dir, "pipe"))
	return dir
}

func mkfs(t testing.TB, src string, args ...string) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "fs.img")
	run(t, "mke2fs", append(append([]string{"-q", "-F", "-d", src}, args...), img, "160M")...)
	return img
}

// TestExt4AgainstDebugfs compares what the view says about every file with
// what debugfs says, and all content with the files it was made of.
func TestExt4AgainstDebugfs(t *testing.T) {
	src := source(t)
	for name, args := range map[string][]string{
		"debian":      {"-t", "ext4", "-b", "4096"},
		"small block": {"-t", "ext4", "-b", "1024"},
		"64 KiB":      {"-t", "ext4", "-b", "65536", "-N", "8000"},
		"meta_bg":     {"-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"},
		"32 bit":      {"-t", "ext4", "-b", "4096", "-O", "^64bit,^metadata_csum,^flex_bg"},
		"inode 128":   {"-t", "ext4", "-b", "4096", "-I", "128"},
		"inline data": {"-t", "ext4", "-b", "4096", "-I", "512", "-O", "inline_data"},
		"ext3":        {"-t", "ext3", "-b", "4096"},
		"ext2":        {"-t", "ext2", "-b", "1024"},
	} {
		t.Run(name, func(t *testing.T) {
			img := mkfs(t, src, args...)
			compare(t, img, src, name != "inline data")
			// Now with an index in the large directory.
			if out, err := exec.Command("e2fsck", "-fyD", img).CombinedOutput(); err != nil && !strings.Contains(string(out), "FILE SYSTEM WAS MODIFIED") {
				t.Fatalf("e2fsck: %v\n%s", err, out)
			}
			compare(t, img, src, name != "inline data")
		})
	}
}

// compare walks an image. mke2fs with inline_data cuts the hole at the end of
// a sparse file; there, debugfs alone is asked.
func compare(t *testing.T, img, src string, sameSize bool) {
	t.Helper()
	r := mustOpen(t, img).Root()
	names := map[string]fs.FileInfo{}
	must(t, fs.WalkDir(r, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			names[p], err = d.Info()
		}
		return err
	}))
	count := 0
	must(t, filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		count++
		rel, _ := filepath.Rel(src, p)
		fi := names[rel]
		if fi == nil {
			t.Errorf("%s is not there", rel)
			return err
		}
		host, herr := os.Lstat(p)
		must(t, herr)
		if fi.Mode() != host.Mode() {
			t.Errorf("%s: mode %v, want %v", rel, fi.Mode(), host.Mode())
		}
		if !host.Mode().IsRegular() {
			return err
		}
		wantContent, rerr := os.ReadFile(p)
		must(t, rerr)
		got, rerr := r.ReadFileMax(rel, 1<<30)
		must(t, rerr)
		if rel == "sparse" && !sameSize {
			wantContent = wantContent[:len(got)]
		}
		if !bytes.Equal(got, wantContent) {
			t.Errorf("%s: the content differs", rel)
		}
		return err
	}))
	if count++; len(names) != count { // lost+found
		t.Errorf("%d names, want %d", len(names), count)
	}
	stats := debugfsStats(t, img, names)
	for name, fi := range names {
		sys, _ := SysOf(fi)
		got := fmt.Sprintf("inode %d mode 0%03o uid %d gid %d size %d links %d blocks %d", sys.Inode,
			unixPerm(fi.Mode()), sys.UID, sys.GID, fi.Size(), sys.Links, sys.Allocated/512)
		if got != stats[name] {
			t.Errorf("%s: got  %s\ndebugfs says %s", name, got, stats[name])
		}
	}
	x, err := r.Xattrs("bin/hard")
	must(t, err)
	want := fmt.Sprintf("security.capability (20) = % x", x["security.capability"])
	if got := run(t, "debugfs", "-R", "ea_get -x bin/caps security.capability", img); strings.TrimSpace(got) != want {
		t.Errorf("got %s, debugfs says %s", want, got)
	}
	for _, n := range []int{1, 59, 60, 61, 1000} {
		if got, err := r.ReadLink(fmt.Sprintf("sizes/link%d", n)); err != nil || got != strings.Repeat("x", n) {
			t.Errorf("link of %d bytes: %q, %v", n, got, err)
		}
	}
}

func unixPerm(m fs.FileMode) uint32 {
	p := uint32(m.Perm())
	for _, b := range []struct {
		mode fs.FileMode
		bit  uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&b.mode != 0 {
			p |= b.bit
		}
	}
	return p
}

var statFields = regexp.MustCompile(`(?s)Inode: (\d+) .*?Mode:\s+(\d+).*?User:\s+(\d+)\s+Group:\s+(\d+).*?Size: (\d+).*?Links: (\d+)\s+Blockcount: (\d+)`)

// debugfsStats asks debugfs about all names in one go.
func debugfsStats(t testing.TB, img string, names map[string]fs.FileInfo) map[string]string {
	t.Helper()
	var cmds strings.Builder
	var order []string
	for name := range names {
		if path.Dir(name) == "large" && !strings.HasSuffix(name, "77") {
			continue // 30 of 3000 will do
		}
		order = append(order, name)
		fmt.Fprintf(&cmds, "stat \"/%s\"\n", name)
	}
	script := filepath.Join(t.TempDir(), "script")
	must(t, os.WriteFile(script, []byte(cmds.String()), 0o600))
	out := run(t, "debugfs", "-f", script, img)
	parts := strings.Split(out, "debugfs: stat ")[1:]
	if len(parts) != len(order) {
		t.Fatalf("debugfs answered %d times, want %d", len(parts), len(order))
	}
	stats := map[string]string{}
	for i, p := range parts {
		m := statFields.FindStringSubmatch(p)
		if m == nil {
			t.Fatalf("debugfs: %s", p)
		}
		stats[order[i]] = fmt.Sprintf("inode %s mode %s uid %s gid %s size %s links %s blocks %s", m[1], m[2], m[3], m[4], m[5], m[6], m[7])
	}
	for name := range names {
		if _, ok := stats[name]; !ok {
			delete(names, name)
		}
	}
	return stats
}

// TestGoDiskfsIsStillUnfit keeps the reason why there is a reader of our own.
// Should it fail, go-diskfs has got better and may replace that reader.
func TestGoDiskfsIsStillUnfit(t *testing.T) {
	src := source(t)
	read := func(img, name string) (b []byte, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		f, err := os.Open(img)
		must(t, err)
		defer f.Close()
		e, err := diskfs.Read(file.New(f, true), 160<<20, 0, 512)
		must(t, err)
		h, err := e.OpenFile(name, os.O_RDONLY)
		if err != nil {
			return nil, err
		}
		b = make([]byte, 1<<20)
		n, err := h.Read(b)
		return b[:n], err
	}
	want, err := os.ReadFile(filepath.Join(src, "sparse"))
	must(t, err)
	if got, err := read(mkfs(t, src, "-t", "ext4", "-b", "4096"), "sparse"); err == nil && len(got) > 0 && bytes.HasPrefix(want, got) {
		t.Errorf("go-diskfs reads the first %d bytes of a sparse file right now", len(got))
	}
	if _, err := read(mkfs(t, src, "-t", "ext4", "-I", "512", "-O", "inline_data"), "bin/set"); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("go-diskfs reads an inline directory without a panic now: %v", err)
	}
}

// TestDirtyJournal makes a journal that needs recovery the way the kernel
// marks it.
func TestDirtyJournal(t *testing.T) {
	img := mkfs(t, source(t), "-t", "ext4", "-b", "4096")
	run(t, "debugfs", "-w", "-R", "feature needs_recovery", img)
	wantBad(t, openErr(t, img), "needs_recovery")
}
