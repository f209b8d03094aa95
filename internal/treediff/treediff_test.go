package treediff

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// entry is one member of a tar.
type entry struct {
	tar.Header
	content string
}

func file(content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}, content}
}

func (e entry) with(change func(*tar.Header)) entry {
	change(&e.Header)
	return e
}

func tree(t *testing.T, entries map[string]entry) target.FS {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		h := e.Header
		h.Name, h.Size, h.Format = name, int64(len(e.content)), tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(t.TempDir(), "root.tar")
	if err := os.WriteFile(p, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	opened, err := target.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened.Root()
}

func dir() entry { return entry{Header: tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}} }
func link(to string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: to, Mode: 0o777}}
}

// short is a change as one line.
func short(c Change) string {
	s := string(c.Kind) + " " + c.Path
	for _, f := range c.Fields {
		s += " " + string(f)
	}
	return s
}

func TestTreesNameEachFieldThatDiffers(t *testing.T) {
	t.Parallel()
	base := file("one")
	for name, tt := range map[string]struct {
		b    entry
		opts Options
		want string // "" for no difference
	}{
		"same":              {b: base},
		"content":           {b: file("two"), want: "changed /f content"},
		"content not asked": {b: file("two"), opts: Options{Metadata: true}},
		"size":              {b: file("longer"), want: "changed /f size content"},
		"mode":              {b: base.with(func(h *tar.Header) { h.Mode = 0o4755 }), want: "changed /f mode"},
		"owner":             {b: base.with(func(h *tar.Header) { h.Gid = 5 }), want: "changed /f owner"},
		"attribute": {b: base.with(func(h *tar.Header) {
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": "x"}
		}), want: "changed /f xattrs"},
		"type":           {b: dir(), want: "changed /f type mode"},
		"time":           {b: base.with(func(h *tar.Header) { h.ModTime = time.Unix(9, 0) }), opts: Options{Times: true}, want: "changed /f time"},
		"time not asked": {b: base.with(func(h *tar.Header) { h.ModTime = time.Unix(9, 0) })},
		"skipped":        {b: file("two"), opts: Options{Skip: func(p string) bool { return p == "/f" }}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result, err := Trees(t.Context(), tree(t, map[string]entry{"f": base}), tree(t, map[string]entry{"f": tt.b}), tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, c := range result.Changes {
				got += short(c)
			}
			if got != tt.want || result.Same() != (tt.want == "") {
				t.Errorf("got %q, same %v; want %q", got, result.Same(), tt.want)
			}
		})
	}
}

func TestTreesOfOtherKinds(t *testing.T) {
	t.Parallel()
	device := func(minor int64) entry {
		return entry{Header: tar.Header{Typeflag: tar.TypeChar, Mode: 0o600, Devmajor: 1, Devminor: minor}}
	}
	a := tree(t, map[string]entry{"only-a/": dir(), "only-a/x": file("x"), "link": link("here"), "null": device(3), "z": dir(), "z/same": file("")})
	b := tree(t, map[string]entry{"link": link("there"), "new/": dir(), "new/sub/": dir(), "new/sub/y": file("yy"), "null": device(5), "z": dir(), "z/same": file("")})
	result, err := Trees(t.Context(), a, b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range result.Changes {
		got = append(got, short(c))
	}
	want := []string{"changed /link link", "added /new", "added /new/sub", "added /new/sub/y", "changed /null device", "removed /only-a", "removed /only-a/x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if y := result.Changes[3].B; y.Size != 2 || y.SHA != "ef90d9c1ec76b1edc9edfaf2c0c05359c10ccc49ae8ecf7b7fd25ce9c02e86a4" || y.Mode != "0644" {
		t.Errorf("got %+v", y)
	}
	if result.FilesA != 6 || result.FilesB != 7 || result.BytesA != 1 || result.BytesB != 2 || result.Total != 7 {
		t.Errorf("got counts %+v", result)
	}
}

func TestTreesAreBounded(t *testing.T) {
	t.Parallel()
	a := tree(t, map[string]entry{"a": file("aaaa"), "b": file("bbbb"), "c": file("cccc")})
	b := tree(t, map[string]entry{"a": file("AAAA"), "b": file("BBBB"), "c": file("CCCC")})
	if _, err := Trees(t.Context(), a, b, Options{MaxBytes: 15}); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "more than 15 bytes") {
		t.Errorf("got %v, want the bound and exit code 2", err)
	}
	result, err := Trees(t.Context(), a, b, Options{MaxChanges: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Changes) != 2 || result.Total != 3 || result.Same() || !strings.Contains(result.Summary(), "1 more") {
		t.Errorf("got %+v", result)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Trees(ctx, a, b, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cancellation", err)
	}
}

// loop is a tree with a directory that holds itself, seen through names that
// get too long to resolve after a while.
type loop struct{ target.FS }

func (l loop) ReadDir(string) ([]fs.DirEntry, error) { return l.FS.ReadDir("d") }

func (l loop) Xattrs(name string) (map[string][]byte, error) {
	if strings.Count(name, "/") > 50 {
		_, err := l.Stat("turns")
		return nil, err
	}
	return nil, nil
}

func TestTreesOfADirectoryInItself(t *testing.T) {
	t.Parallel()
	root := loop{tree(t, map[string]entry{"d/": dir(), "d/e/": dir(), "turns": link("turns")})}
	_, err := Trees(t.Context(), root, root, Options{})
	if exitcode.Of(err) != exitcode.Usage || !errors.Is(err, syscall.ELOOP) {
		t.Errorf("got %v, want ELOOP with exit code 2", err)
	}
}
