package target

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func TestTarExtractsLikeTar(t *testing.T) {
	t.Parallel()
	make := func(hs ...tar.Header) string {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range hs {
			if h.Typeflag == tar.TypeReg {
				h.Size = int64(len(h.Uname)) // the content
			}
			content := h.Uname
			h.Uname = ""
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
		return save(t, b.Bytes())
	}
	file := func(name, content string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Uname: content}
	}
	link := func(name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
	}
	dir := func(name string, mode int64) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}
	}
	r := mustOpen(t, make(
		dir("usr/lib", 0o755), link("lib", "usr/lib"), file("lib/through-a-link", "1"),
		file("twice", "old"), file("twice", "new"),
		file("/abs/olute", "2"), file("../../above", "3"),
		file("d/file", "4"), dir("d", 0o1777),
		tar.Header{Name: "x", Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.k": "v"}},
	)).Root()
	for name, want := range map[string]string{
		"usr/lib/through-a-link": "1", "twice": "new", "abs/olute": "2", "above": "3", "d/file": "4",
	} {
		if got, err := r.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", name, got, err, want)
		}
	}
	if fi, err := r.Stat("d"); err != nil || fi.Mode() != fs.ModeDir|fs.ModeSticky|0o777 {
		t.Errorf("a directory listed after its content: %v, %v", fi, err)
	}
	if x, err := r.Xattrs("x"); err != nil || string(x["user.k"]) != "v" {
		t.Errorf("attributes: %q, %v", x, err)
	}
	hard := func(name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}
	}
	for want, hs := range map[string][]tar.Header{
		"hard link to the directory": {dir("d", 0o755), hard("d/loop", "d")},
		"file does not exist":        {hard("a", "missing")},
		"is a regular file and has":  {file("a", ""), file("a/b", "")},
		"too many levels":            {link("a", "b"), link("b", "a"), file("a/c", "")},
		"the root is a regular file": {file(".", "")},
	} {
		wantBad(t, openErr(t, make(hs...)), want)
	}
}

func TestCompressedTars(t *testing.T) {
	t.Parallel()
	plain := writeTar(t)
	var gz, zst bytes.Buffer
	zw := gzip.NewWriter(&gz)
	if _, err := zw.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	ze, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ze.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := ze.Close(); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"gz": gz.Bytes(), "zst": zst.Bytes()} {
		tg := mustOpen(t, save(t, b))
		if got, err := tg.Root().ReadFile("etc/up"); err != nil || string(got) != "inside\n" || tg.Kind() != Tar {
			t.Errorf("%s: %q, %v, %s", name, got, err, tg.Kind())
		}
		err := openErr(t, save(t, b[:len(b)/2]))
		wantBad(t, err, "tar")
	}
}

func TestSpoolLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var gz bytes.Buffer
	zw := gzip.NewWriter(&gz)
	if _, err := zw.Write(writeTar(t)); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(t.TempDir(), "t.tar.gz")
	if err := os.WriteFile(p, gz.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, p) // still open below: even SIGKILL now would leave nothing
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("in TMPDIR: %v, %v, want nothing", left, err)
	}
	t.Setenv("TMPDIR", filepath.Join(dir, "missing"))
	if _, err := Open(context.Background(), p); exitcode.Of(err) != exitcode.Infrastructure {
		t.Errorf("without a TMPDIR: %v with exit code %d, want 75", err, exitcode.Of(err))
	}
}

func TestOpenOfATarStopsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, save(t, writeTar(t))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func FuzzTar(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		s := io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
		at := func() int64 { n, _ := s.Seek(0, io.SeekCurrent); return n }
		v, err := openTar(context.Background(), s, at, bytes.NewReader(b))
		if err != nil {
			if exitcode.Of(err) != exitcode.Usage {
				t.Fatalf("exit code %d, want 2: %v", exitcode.Of(err), err)
			}
			return
		}
		n := 0
		err = fs.WalkDir(v, ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if n++; n > 10000 {
				return fs.SkipAll
			}
			if d.Type()&fs.ModeSymlink != 0 {
				if _, err := v.Stat(p); err == nil {
					if _, err := v.Resolve(p); err != nil {
						return fmt.Errorf("can be stat'ed but not resolved: %w", err)
					}
				}
			}
			if d.Type().IsRegular() {
				if _, err := v.ReadFileMax(p, 1<<20); err != nil && exitcode.Of(err) != exitcode.Usage {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
