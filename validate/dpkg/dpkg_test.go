package dpkg

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

const status = `Package: containerd
Status: hold ok installed
Architecture: amd64
Source: containerd (1.7.24~ds1-6)
Version: 1.7.24~ds1-6+deb13u1
Depends: runc (>= 1.0.0),
 libc6
Conffiles:
 /etc/containerd/config.toml 900150983cd24fb0d6963f7d28e17f72
 /etc/gone 900150983cd24fb0d6963f7d28e17f72
 /etc/changed 900150983cd24fb0d6963f7d28e17f72
 /etc/old 900150983cd24fb0d6963f7d28e17f72 obsolete
Description: open and reliable container runtime
 containerd is a daemon.
 .
 Package: not a field

Package: runc
Status: install ok installed
Architecture: amd64
Version: 1.1.15+ds1-2+b4

Package: docker.io
Status: deinstall ok config-files
Architecture: amd64
Version: 26.1

Package: broken
Status: install reinstreq half-installed
Version: 1
garbage
`

func image() fstest.MapFS {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	return fstest.MapFS{
		"var/lib/dpkg/status":                  file(status),
		"var/lib/dpkg/info/runc:amd64.list":    file("/.\n/usr\n/usr/sbin/runc\n"),
		"var/lib/dpkg/info/containerd.list":    file("/.\n/bin/containerd\n/usr/sbin/runc2\n"),
		"etc/containerd/config.toml":           file("abc"),
		"etc/changed":                          file("abcd"),
		"etc/old":                              file("x"),
		"etc/containerd/config.toml.dpkg-dist": file("new"),
	}
}

func TestDatabase(t *testing.T) {
	t.Parallel()
	root := image()
	db, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	c, ok := db.Package("containerd")
	if !ok || c.Version != "1.7.24~ds1-6+deb13u1" || !c.Held() || c.Pos.Line != 1 || c.Fields["depends"] != "runc (>= 1.0.0),\nlibc6" || c.Source != "containerd" {
		t.Errorf("%+v", c)
	}
	if r, ok := db.Package("runc"); !ok || r.Held() || r.Pos.Line != 18 {
		t.Errorf("%+v", r)
	}
	if _, ok := db.Package("docker.io"); ok {
		t.Error("a package of which only configuration is left is not installed")
	}
	if b := db.Broken(); len(b) != 1 || b[0].Name != "broken" {
		t.Errorf("broken %+v", b)
	}
	if len(db.Problems) != 1 || db.Problems[0].Pos.Line != 31 {
		t.Errorf("%+v", db.Problems)
	}
	changes, err := db.Changed(root, c)
	if err != nil {
		t.Fatal(err)
	}
	want := []Change{
		{Package: "containerd", Conffile: c.Conffiles[1], Missing: true},
		{Package: "containerd", Conffile: c.Conffiles[2], MD5: "e2fc714c4727ee9395f324cd2e7f331f"},
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Error(diff)
	}
	left, err := Leftovers(root, "/etc")
	if err != nil || len(left) != 1 || left[0] != "/etc/containerd/config.toml.dpkg-dist" {
		t.Errorf("%v %v", left, err)
	}
}

func TestOwner(t *testing.T) {
	t.Parallel()
	root := image()
	db, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]string{"/usr/sbin/runc": "runc", "/usr/bin/containerd": "containerd", "/sbin/runc": "runc", "/usr/local/sbin/runc": "", "/usr/sbin/run": ""} {
		pkg, ok, err := db.Owner(root, p)
		if err != nil || ok != (want != "") || pkg.Name != want {
			t.Errorf("%s: %q %v %v, want %q", p, pkg.Name, ok, err, want)
		}
	}
}

func TestNoDatabase(t *testing.T) {
	t.Parallel()
	db, err := Load(fstest.MapFS{})
	if err != nil || len(db.Packages) != 0 {
		t.Fatal(db, err)
	}
	if _, ok := db.Package("x"); ok {
		t.Error("a package in no database")
	}
	if _, ok, err := db.Owner(fstest.MapFS{}, "/x"); ok || err != nil {
		t.Error(ok, err)
	}
	long := fstest.MapFS{source.Name(Status): {Data: []byte("Package: " + strings.Repeat("x", maxLine+1))}}
	if _, err := Load(long); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("an endless line: %v", err)
	}
}

func TestCompareVersions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"1.7.24~ds1-6", "1.7.24-1", -1},
		{"1.7.24~ds1-6+deb13u1", "1.7.24~ds1-6", 1},
		{"1:1.0", "2.0", 1},
		{"1.10", "1.9", 1},
		{"1.0", "1.0-0", 0},
		{"1.0-1", "1.0-1", 0},
		{"1.0~rc1", "1.0", -1},
		{"2.2.1-0ubuntu1~24.04.4", "2.2.1-0ubuntu1", -1},
		{"1.1.15+ds1-2+b4", "1.1.15+ds1-2", 1},
		{"1.0a", "1.0+", -1},
		{"0018", "18", 0},
		{"99999999999999999999999", "99999999999999999999998", 1},
	} {
		sign := func(n int) int { return min(max(n, -1), 1) }
		if got := sign(CompareVersions(tt.a, tt.b)); got != tt.want {
			t.Errorf("%s against %s: %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := sign(CompareVersions(tt.b, tt.a)); got != -tt.want {
			t.Errorf("%s against %s: %d, want %d", tt.b, tt.a, got, -tt.want)
		}
	}
	if u := Upstream("1:1.7.24~ds1-6+deb13u1"); u != "1.7.24~ds1" {
		t.Error(u)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(status, "1.0~a", "1:0-1")
	f.Add(" x\n\nPackage:\nStatus: a b\n", "~", "")
	f.Add("Package: a\nConffiles:\n \n x\n", "a-", "-")
	f.Fuzz(func(t *testing.T, data, a, b string) {
		if db, err := Parse("/f", []byte(data)); err == nil {
			for _, p := range db.Packages {
				if p.Name == "" || p.Pos.Line == 0 {
					t.Fatalf("%+v", p)
				}
			}
			db.Broken()
		}
		if ab, ba := CompareVersions(a, b), CompareVersions(b, a); (ab < 0) != (ba > 0) || (ab == 0) != (ba == 0) {
			t.Fatalf("%q against %q: %d and %d", a, b, ab, ba)
		}
		if CompareVersions(a, a) != 0 {
			t.Fatalf("%q differs from itself", a)
		}
	})
}
