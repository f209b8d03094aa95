package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// entry is one entry of an archive; Content makes its size.
type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))}, content}
}

func special(kind byte, name, target string) entry {
	return entry{tar.Header{Name: name, Typeflag: kind, Linkname: target, Mode: 0o777}, ""}
}

func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zst(t testing.TB, content []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(content, nil)
}

// inBin takes what lies in bin/, by its last element.
func inBin(name string) string {
	rest, _ := strings.CutPrefix(name, "bin/")
	if rest == name {
		return ""
	}
	return rest
}

// run unpacks content in a directory of its own, and returns what came out.
func run(t *testing.T, content []byte, limits Limits) (map[string]string, error) {
	t.Helper()
	dir := t.TempDir()
	src, out := filepath.Join(dir, "a"), filepath.Join(dir, "out")
	if err := errors.Join(os.WriteFile(src, content, 0o644), os.Mkdir(out, 0o755)); err != nil {
		t.Fatal(err)
	}
	err := Extract(t.Context(), src, out, limits, inBin)
	found := map[string]string{}
	walkErr := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == src {
			return err
		}
		text, err := os.ReadFile(path)
		found[strings.TrimPrefix(path, out+"/")] = string(text)
		return err
	})
	if walkErr != nil {
		t.Fatal(walkErr)
	}
	return found, err
}

func TestExtract(t *testing.T) {
	t.Parallel()
	plain := pack(t, entry{tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "c0ffee"}}, ""},
		special(tar.TypeDir, "./", ""), special(tar.TypeDir, "bin/", ""), file("bin/containerd", "c"), file("./bin/ctr", "t"), file("README.md", "r"))
	for name, content := range map[string][]byte{"plain": plain, "gzip": gz(t, plain), "zstd": zst(t, plain)} {
		found, err := run(t, content, DefaultLimits())
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(map[string]string{"containerd": "c", "ctr": "t"}, found); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	good := file("bin/runc", "runc")
	for name, tt := range map[string]struct {
		content []byte
		want    string
	}{
		"path out":           {pack(t, file("../runc", "x")), `entry "../runc": its path leads out of the archive`},
		"path out, later":    {pack(t, good, file("bin/../../etc/passwd", "x")), `entry "bin/../../etc/passwd": its path leads out of the archive`},
		"path out, unwanted": {pack(t, file("doc/../../x", "x")), `entry "doc/../../x": its path leads out of the archive`},
		"directory out":      {pack(t, special(tar.TypeDir, "../up/", "")), `entry "../up/": its path leads out of the archive`},
		"absolute path":      {pack(t, file("/etc/passwd", "x")), `entry "/etc/passwd": expected a path below the archive's top`},
		"backslash":          {pack(t, file(`bin\runc`, "x")), `entry "bin\\runc": expected a path below the archive's top`},
		"symbolic link":      {pack(t, special(tar.TypeSymlink, "bin/runc", "/usr/bin/runc")), `entry "bin/runc": it is a link to "/usr/bin/runc": expected files and directories only`},
		"hard link":          {pack(t, good, special(tar.TypeLink, "bin/crun", "bin/runc")), `entry "bin/crun": it is a link to "bin/runc": expected files and directories only`},
		"device":             {pack(t, special(tar.TypeChar, "bin/null", "")), `entry "bin/null": it has type '3': expected files and directories only`},
		"pipe":               {pack(t, special(tar.TypeFifo, "pipe", "")), `entry "pipe": it has type '6': expected files and directories only`},
		"twice":              {pack(t, good, file("./bin/runc", "other")), `entry "./bin/runc": there is a second runc in the archive`},
		"name below dir":     {pack(t, file("bin/a/b", "x")), ``},
		"too many entries":   {pack(t, good, file("a", ""), file("b", ""), file("c", "")), `it has more than 3 entries`},
		"too large entry":    {pack(t, file("doc", strings.Repeat("x", 5000))), `entry "doc": it has 5000 bytes: expected at most 4096 in all of the archive`},
		"too large in all":   {pack(t, file("a", strings.Repeat("x", 3000)), file("bin/b", strings.Repeat("x", 3000))), `it unpacks to more than 4096 bytes`},
		"bomb":               {gz(t, make([]byte, 1<<20)), ``},
		"cut":                {pack(t, good)[:514], `it ends too early`},
		"cut gzip":           {gz(t, pack(t, good))[:60], `it ends too early`},
		"no archive":         {[]byte(strings.Repeat("<html>", 200)), `it is no tar archive, or a damaged one`},
		"empty":              {nil, `it is empty`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := run(t, tt.content, Limits{Entries: 3, Bytes: 4096})
			if err == nil {
				t.Fatal("no error")
			}
			if tt.want != "" && err.Error() != tt.want {
				t.Errorf("found %q, expected %q", err, tt.want)
			}
			for name := range found {
				if strings.Contains(name, "/") {
					t.Errorf("%s came out", name)
				}
			}
		})
	}
}

// A file that cannot be written is no fault of the archive.
func TestTargetError(t *testing.T) {
	t.Parallel()
	_, err := run(t, pack(t, file("bin/a/b", "x")), DefaultLimits())
	if errors.As(err, new(*Error)) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("found %v, expected that the directory is missing", err)
	}
}

// FuzzExtract: whatever the bytes, only files come out, in the directory, and
// no more than the limit allows.
func FuzzExtract(f *testing.F) {
	plain := pack(f, special(tar.TypeDir, "bin/", ""), file("bin/a", "a"), file("../b", "b"), special(tar.TypeSymlink, "bin/c", "/etc"))
	long := pack(f, file(strings.Repeat("d/", 100)+"a", "long"), file("bin/"+strings.Repeat("e", 300), "x"))
	for _, seed := range [][]byte{plain, gz(f, plain), zst(f, plain), long, gz(f, make([]byte, 1<<20)), nil} {
		f.Add(seed)
	}
	limits := Limits{Entries: 100, Bytes: 1 << 16}
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		out := filepath.Join(dir, "out")
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(out)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		// An error is what most bytes deserve.
		_ = extract(t.Context(), bytes.NewReader(content), root, limits, func(name string) string {
			if name == ".." || strings.HasPrefix(name, "../") || strings.HasPrefix(name, "/") {
				t.Errorf("asked for %q", name)
			}
			return strings.ReplaceAll(name, "/", "_")
		})
		var total int64
		walkErr := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || path == dir || path == out {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if filepath.Dir(path) != out || !info.Mode().IsRegular() {
				t.Errorf("%s of mode %s came out", path, info.Mode())
			}
			total += info.Size()
			return nil
		})
		if walkErr != nil {
			t.Fatal(walkErr)
		}
		if total > limits.Bytes {
			t.Errorf("%d bytes came out", total)
		}
	})
}
