package source

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func TestNameStaysInside(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/":                   ".",
		"":                    ".",
		"/etc/x":              "etc/x",
		"etc/x/":              "etc/x",
		"/../../etc/shadow":   "etc/shadow",
		"../../../etc/passwd": "etc/passwd",
	} {
		if got := Name(in); got != want {
			t.Errorf("Name(%q) = %q, want %q", in, got, want)
		}
		if !fs.ValidPath(Name(in)) {
			t.Errorf("Name(%q) = %q is not a valid fs path", in, Name(in))
		}
	}
}

func TestReadFileBounds(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{
		"etc/ok":    {Data: []byte("1234")},
		"etc/dir/x": {Data: []byte("1")},
	}
	if b, err := ReadFile(root, "/etc/ok", 4); err != nil || string(b) != "1234" {
		t.Fatalf("ReadFile = %q, %v", b, err)
	}
	_, err := ReadFile(root, "/etc/ok", 3)
	if !errors.Is(err, ErrTooLarge) || exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "/etc/ok") {
		t.Errorf("oversized file: %v (exit %d)", err, exitcode.Of(err))
	}
	if _, err = ReadFile(root, "/etc/none", 3); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err = ReadFile(root, "/etc/dir", 3); err == nil || exitcode.Of(err) != exitcode.Usage {
		t.Errorf("directory: %v", err)
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{
		"etc/a": {Data: []byte("../usr/b"), Mode: fs.ModeSymlink | 0o777},
		"usr/b": {Data: []byte("x")},
	}
	if target, ok := Link(root, "/etc/a"); !ok || target != "../usr/b" {
		t.Errorf("Link = %q, %v", target, ok)
	}
	if _, ok := Link(root, "/usr/b"); ok {
		t.Error("a regular file passed for a link")
	}
	if got := ResolveLink("/etc/a", "../usr/b"); got != "/usr/b" {
		t.Errorf("ResolveLink = %q", got)
	}
	if got := ResolveLink("/etc/a", "/dev/null"); got != "/dev/null" {
		t.Errorf("ResolveLink = %q", got)
	}
}

func TestGlobAndLines(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{"etc/d/2.toml": {}, "etc/d/1.toml": {}, "etc/d/x": {}}
	got, err := Glob(root, "/etc/d/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/etc/d/1.toml", "/etc/d/2.toml"}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := Glob(root, "/etc/[/*"); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("bad pattern: %v", err)
	}
	want := []Line{{"a", Position{"/f", 1}}, {"", Position{"/f", 2}}, {"b", Position{"/f", 3}}}
	if diff := cmp.Diff(want, Lines("/f", []byte("a\r\n\nb\n"))); diff != "" {
		t.Error(diff)
	}
	if s := (Position{"/f", 3}).String(); s != "/f:3" {
		t.Error(s)
	}
}
