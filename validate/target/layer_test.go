package target

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func names(t *testing.T, fsys FS, dir string) []string {
	t.Helper()
	list, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range list {
		all = append(all, e.Name())
	}
	return all
}

func TestLayer(t *testing.T) {
	t.Parallel()
	host := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(host, []byte("from the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := mustOpen(t, "testdata/disk.qcow2")
	over, err := base.WithLayer([]Entry{
		{Path: "/etc/hostname", Mode: 0o600, UID: 7, GID: 8, Content: []byte("other\n")},
		{Path: "/etc/kubernetes/pki/ca.crt", Mode: 0o644, Content: []byte("cert")},
		{Path: "/etc/up", Removed: true},
		{Path: "/usr/bin/su", Mode: 0o755, Keep: true},
		{Path: "/usr/bin/tool", Mode: 0o755, File: host},
		{Path: "/etc/new-link", Mode: fs.ModeSymlink | 0o777, Link: "/usr/bin/tool"},
		{Path: "/etc/shadow-link", Mode: 0o644, Content: []byte("no link any more")},
		{Path: "/many", Removed: true},
		{Path: "/many/again", Mode: 0o644, Content: []byte("only one")},
		{Path: "/a/b", Removed: true},
		{Path: "/nowhere/at/all", Removed: true},
		{Path: "/huge", Removed: true}, // 1 TiB, and TestFS reads everything
	}, []Entry{{Path: "/loader/entries/one.conf", Mode: 0o755, Content: []byte("options quiet")}})
	if err != nil {
		t.Fatal(err)
	}
	r := over.Root()
	for name, want := range map[string]string{
		"etc/hostname":              "other\n",
		"etc/kubernetes/pki/ca.crt": "cert",
		"usr/bin/tool":              "from the host",
		"bin/tool":                  "from the host", // by the base's link
		"etc/new-link":              "from the host", // by the layer's
		"etc/shadow-link":           "no link any more",
		"etc/shadow":                "inside\n", // the base's own
		"many/again":                "only one",
	} {
		if got, err := r.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"etc/up", "many/a-name-of-some-length-1", "a/b", "a/b/c", "nowhere"} {
		if _, err := r.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want fs.ErrNotExist", name, err)
		}
	}
	if got := names(t, r, "many"); !slices.Equal(got, []string{"again"}) {
		t.Errorf("a directory that was removed and made again holds %v", got)
	}
	etc := names(t, r, "etc")
	if slices.Contains(etc, "up") || !slices.Contains(etc, "new-link") || !slices.Contains(etc, "shadow") {
		t.Errorf("etc lists %v", etc)
	}
	fi, err := r.Stat("etc/hostname")
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := SysOf(fi); fi.Mode() != 0o600 || s.UID != 7 || s.GID != 8 || fi.Size() != 6 {
		t.Errorf("etc/hostname: %v %+v %d", fi.Mode(), s, fi.Size())
	}
	was, err := base.Root().ReadFile("usr/bin/su")
	if err != nil {
		t.Fatal(err)
	}
	fi, err = r.Stat("usr/bin/su")
	if got, readErr := r.ReadFile("usr/bin/su"); err != nil || readErr != nil || string(got) != string(was) || fi.Mode() != 0o755 {
		t.Errorf("usr/bin/su whose mode was changed: %v, %q, %v, %v", fi.Mode(), got, err, readErr)
	}
	if x, err := r.Xattrs("usr/bin/ping"); err != nil || len(x["security.capability"]) == 0 {
		t.Errorf("capabilities of an unchanged file: %v, %v", x, err)
	}
	esp, err := over.ESP()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := esp.ReadFile("loader/entries/one.conf"); err != nil || string(got) != "options quiet" {
		t.Errorf("ESP: %q, %v", got, err)
	}
	if got, err := esp.ReadFile("EFI/BOOT/BOOTX64.EFI"); err != nil || string(got) != "MZ" {
		t.Errorf("ESP's own file: %q, %v", got, err)
	}
	// The base itself is as it was.
	if got, err := base.Root().ReadFile("etc/hostname"); err != nil || string(got) != "node\n" {
		t.Errorf("the base's etc/hostname: %q, %v", got, err)
	}
	if err := fstest.TestFS(openable{r}, "etc/kubernetes/pki/ca.crt", "many/again", "usr/bin/tool"); err != nil {
		t.Error(err)
	}
}

func TestLayerRefuses(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]Entry{
		"clean absolute":  {Path: "etc/x"},
		"want a clean":    {Path: "/etc/../x"},
		"is a symbolic":   {Path: "/bin/x"},
		"regular file":    {Path: "/etc/hostname/x"},
		"not the root":    {Path: "/", Removed: true},
		"not a named pip": {Path: "/dev/p", Mode: fs.ModeNamedPipe},
	} {
		_, err := mustOpen(t, "testdata/disk.qcow2").WithLayer([]Entry{e}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one with %q", e, err, want)
		}
	}
	if _, err := mustOpen(t, t.TempDir()).WithLayer(nil, []Entry{{Path: "/x"}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an entry for an ESP that is not there: %v", err)
	}
	// A mode for a file that is not there changes nothing.
	over, err := mustOpen(t, "testdata/disk.qcow2").WithLayer([]Entry{{Path: "/etc/none", Mode: 0o777, Keep: true}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := over.Root().Stat("etc/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a mode made a file: %v", err)
	}
}
