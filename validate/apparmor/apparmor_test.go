package apparmor

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

const runcProfile = `# This profile allows everything and only exists to give the
# application a name instead of having the label "unconfined"

abi <abi/4.0>,
include <tunables/global>

profile runc /usr/{bin,sbin}/runc flags=(unconfined) {
  userns,

  # Site-specific additions and overrides. See local/README for details.
  include if exists <local/runc>
}
`

func load(t *testing.T, files map[string]string) *Policy {
	t.Helper()
	root := fstest.MapFS{}
	for p, d := range files {
		f := &fstest.MapFile{Data: []byte(d)}
		if target, ok := strings.CutPrefix(d, "-> "); ok {
			f = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
		}
		root[source.Name(p)] = f
	}
	p, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRuncProfile(t *testing.T) {
	t.Parallel()
	p := load(t, map[string]string{
		"/usr/sbin/apparmor_parser": "x",
		Dir + "/runc":               runcProfile,
		Dir + "/runc.dpkg-old":      runcProfile,
		Dir + "/abi/4.0":            "x",
		Dir + "/abi/3.0":            "x",
		Dir + "/local/runc":         "",
		Dir + "/abstractions/base":  "/bad {",
	})
	want := []Profile{{Name: "runc", Attachments: []string{"/usr/{bin,sbin}/runc"}, Flags: []string{"unconfined"}, ABI: "abi/4.0",
		Pos: source.Position{File: Dir + "/runc", Line: 7}}}
	if diff := cmp.Diff(want, p.Profiles); diff != "" || len(p.Problems) != 0 {
		t.Fatal(diff, p.Problems)
	}
	for program, attached := range map[string]bool{"/usr/sbin/runc": true, "/usr/bin/runc": true, "/usr/local/sbin/runc": false, "/usr/sbin/runc2": false} {
		pr, err := p.Attaching(program)
		if err != nil || (pr != nil) != attached {
			t.Errorf("%s: %v %v", program, pr, err)
		}
	}
	if !p.Profiles[0].HasFlag("unconfined") || !p.Parser || !p.HasABI("3.0") || p.HasABI("5.0") {
		t.Errorf("%+v", p)
	}
}

func TestDisabled(t *testing.T) {
	t.Parallel()
	p := load(t, map[string]string{Dir + "/runc": runcProfile, Dir + "/disable/runc": "-> ../runc"})
	if !p.Profiles[0].Disabled {
		t.Error("a link in disable/ disables")
	}
	if pr, err := p.Attaching("/usr/sbin/runc"); pr != nil || err != nil {
		t.Errorf("%v %v", pr, err)
	}
	if p = load(t, map[string]string{}); len(p.Profiles) != 0 || p.Parser {
		t.Errorf("%+v", p)
	}
}

func TestSyntax(t *testing.T) {
	t.Parallel()
	text := `#include <tunables/global>
@{exec_path} = /{,usr/}{,s}bin/foo  /opt/foo
@{exec_path} += "/srv/foo"
/usr/bin/evince {
  #include <abstractions/base>
  capability net_admin,
  /etc/{a,b}/** r, /x rw,
  signal (receive) peer={a,b},
  profile sanitized flags=(complain, attach_disconnected) {
    /** r,
  }
  ^hat {
  }
  if defined $x {
    deny /y w,
  }
}
profile foo @{exec_path} xattrs=(security.x="y") flags=(complain) {
}
profile "with space" "/opt/a b" {
}
profile unattached (enforce) {
}
/usr/lib/[a-c]*/{x,y/**} (complain) { /z r, }
`
	ps, problems := Parse("/f", []byte(text), map[string][]string{})
	if len(problems) != 0 {
		t.Error(problems)
	}
	at := func(n int) source.Position { return source.Position{File: "/f", Line: n} }
	want := []Profile{
		{Name: "/usr/bin/evince", Attachments: []string{"/usr/bin/evince"}, Pos: at(4)},
		{Name: "/usr/bin/evince//sanitized", Parent: "/usr/bin/evince", Flags: []string{"complain", "attach_disconnected"}, Pos: at(9)},
		{Name: "/usr/bin/evince//hat", Parent: "/usr/bin/evince", Pos: at(12)},
		{Name: "foo", Attachments: []string{"/{,usr/}{,s}bin/foo", "/opt/foo", "/srv/foo"}, Flags: []string{"complain"}, Pos: at(18)},
		{Name: "with space", Attachments: []string{"/opt/a b"}, Pos: at(20)},
		{Name: "unattached", Flags: []string{"enforce"}, Pos: at(22)},
		{Name: "/usr/lib/[a-c]*/{x,y/**}", Attachments: []string{"/usr/lib/[a-c]*/{x,y/**}"}, Flags: []string{"complain"}, Pos: at(24)},
	}
	if diff := cmp.Diff(want, ps); diff != "" {
		t.Error(diff)
	}
	if _, problems = Parse("/f", []byte("profile a {\n"), nil); len(problems) != 1 {
		t.Errorf("an open block: %v", problems)
	}
}

func TestTunables(t *testing.T) {
	t.Parallel()
	p := load(t, map[string]string{
		Dir + "/tunables/global":      "#include <tunables/home>\n",
		Dir + "/tunables/home":        "@{HOMEDIRS}=/home/ # c\n@{HOME}=@{HOMEDIRS}/*/ /root/\n",
		Dir + "/tunables/home.d/site": "@{HOMEDIRS}+=/srv/home/\n",
		Dir + "/x":                    "profile x @{HOME}bin/x {\n}\n",
		Dir + "/generic":              "profile any /home/** {\n}\n",
	})
	if diff := cmp.Diff([]string{"/home/*/bin/x", "/srv/home/*/bin/x", "/root/bin/x"}, p.Profile("x").Attachments); diff != "" {
		t.Error(diff)
	}
	// Both match; the kernel takes the longer fixed part.
	p.Profiles[1].Attachments = []string{"/home/u/bin/*"}
	if pr, err := p.Attaching("/home/u/bin/x"); err != nil || pr == nil || pr.Name != p.Profiles[1].Name {
		t.Errorf("%+v %v", pr, err)
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"/usr/bin/runc", "/usr/bin/runc", true},
		{"/usr/*/runc", "/usr/a/b/runc", false},
		{"/usr/**/runc", "/usr/a/b/runc", true},
		{"/usr/**runc", "/usr/runc", true},
		{"/{,usr/}bin/x", "/bin/x", true},
		{"/{,usr/}bin/x", "/usr/bin/x", true},
		{"/{a,b{c,d}}", "/bd", true},
		{"/{a,b{c,d}}", "/b", false},
		{"/x[a-c]", "/xb", true},
		{"/x[^a-c]", "/xb", false},
		{"/x?", "/x/", false},
		{`/x\*`, "/x*", true},
		{"/**", "/", true},
		{"/[", "/[", true},
		{strings.Repeat("*a", 200), strings.Repeat("a", 2000) + "b", false},
	} {
		got, err := Match(tt.pattern, tt.name)
		if err != nil || got != tt.want {
			t.Errorf("Match(%.40q, %.40q) = %v, %v, want %v", tt.pattern, tt.name, got, err, tt.want)
		}
	}
	if _, err := Match("/"+strings.Repeat("{a,b}", 20), "/x"); err == nil {
		t.Error("a pattern of 2^20 paths has to be refused")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(runcProfile, "/usr/{bin,sbin}/runc", "/usr/bin/runc")
	f.Add("@{x}=@{x}/a @{x}\nprofile a @{x} {\n}\n^h {\n\"a\" {", "/[a-", "/x")
	f.Add("profile {\n}\n} , { { (flags=(", "{,{,}}**\\", "")
	f.Fuzz(func(t *testing.T, text, pattern, name string) {
		vars := map[string][]string{"a": {"/b", "@{c}"}, "c": {"/d"}}
		ps, _ := Parse("/f", []byte(text), vars)
		for _, p := range ps {
			if p.Pos.Line == 0 || len(p.Attachments) > maxExpansions {
				t.Fatalf("%+v", p)
			}
			for _, a := range p.Attachments {
				_, _ = Match(a, "/usr/sbin/runc")
			}
		}
		if len(pattern) < 200 && len(name) < 200 {
			_, _ = Match(pattern, name)
		}
	})
}
