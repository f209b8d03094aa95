package lock

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func sum(c string) string { return strings.Repeat(c, 64) }

func example() *Lock {
	deb := func(name, version, s string) Package {
		return Package{Name: name, Version: version, Arch: "amd64", SHA256: sum(s), Size: 10, URI: "http://m.example/debian", Path: "pool/main/" + name + ".deb"}
	}
	return &Lock{Content: Content{
		Profile:  Profile{Name: "node", SHA256: sum("1"), Arch: "amd64"},
		Kernel:   Kernel{Package: "linux-image-6.12.1-amd64", Release: "6.12.1-amd64", SHA256: sum("2")},
		Releases: []Release{{URI: "http://m.example/debian", Suite: "trixie", SHA256: sum("3"), Date: "2026-01-31T12:00:00Z", Signer: strings.Repeat("A", 40)}},
		Packages: []Package{deb("linux-image-6.12.1-amd64", "6.12.1-1", "4"), deb("libc6", "2.41-12+deb13u1", "5")},
		Components: []Component{
			{Name: "runc", Version: "1.5.2", Source: "gomod", From: "github.com/opencontainers/runc@v1.5.2", Sum: "h1:x=", Files: []File{{Name: "runc", SHA256: sum("6"), Size: 3}}},
			{Name: "kube-proxy-base", Source: "deb", Sum: "sha256:" + sum("7"), Packages: []Package{deb("kmod", "34", "8"), deb("libc6", "2.41-12+deb13u1", "5")}, Files: []File{{Name: "kmod_34_amd64.deb", SHA256: sum("8"), Size: 10}}},
		},
		Images: []Image{{Name: "registry.k8s.io/pause:3.10.2", Digest: "sha256:" + sum("9")}},
	}}
}

func TestALockSurvivesItsFile(t *testing.T) {
	t.Parallel()
	l := example()
	text, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse("x.lock.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l.Content, back.Content); diff != "" {
		t.Errorf("what was read is not what was written (-want +got):\n%s", diff)
	}
	if l.Packages[0].Name != "libc6" || l.Components[0].Name != "kube-proxy-base" {
		t.Errorf("not sorted: %s, %s", l.Packages[0].Name, l.Components[0].Name)
	}
	again, err := back.Encode()
	if err != nil || string(again) != string(text) {
		t.Errorf("the same lock gives another text (%v)", err)
	}
	if got := len(back.AllPackages()); got != 3 {
		t.Errorf("%d different .debs, want 3: libc6 is in both lists", got)
	}
}

func TestWhatALockMustNotSay(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*Lock)
		want   string
	}{
		"path out of the archive": {func(l *Lock) { l.Packages[0].Path = "../../etc/passwd" }, "packages[1].path"},
		"absolute path":           {func(l *Lock) { l.Packages[0].Path = "/etc/passwd" }, "below the archive"},
		"option as a name":        {func(l *Lock) { l.Packages[0].Name = "--oops" }, "a package's name"},
		"shell in a version":      {func(l *Lock) { l.Packages[0].Version = "1;reboot" }, "a Debian version"},
		"short sum":               {func(l *Lock) { l.Packages[0].SHA256 = "abc" }, "64 hexadecimal digits"},
		"name twice":              {func(l *Lock) { l.Packages[0].Name = "libc6" }, "listed already"},
		"other architecture":      {func(l *Lock) { l.Packages[0].Arch = "arm64" }, "amd64 or all"},
		"password in the address": {func(l *Lock) { l.Packages[0].URI = "http://u:p@m/debian" }, "without a user"},
		"kernel not locked":       {func(l *Lock) { l.Kernel.Package = "linux-image-other" }, "one of the lock's packages"},
		"kernel leads elsewhere":  {func(l *Lock) { l.Kernel.Release = "../x" }, "kernel.release"},
		"file leads elsewhere":    {func(l *Lock) { l.Components[0].Files[0].Name = "../runc" }, "without directories"},
		"no digest":               {func(l *Lock) { l.Images[0].Digest = "latest" }, "images[0].digest"},
		"unsigned":                {func(l *Lock) { l.Releases[0].Signer = "" }, "releases[0].signer"},
		"no packages":             {func(l *Lock) { l.Packages = nil }, "packages"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := example()
			tc.change(l)
			_, err := l.Encode()
			if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got code %d, %v, want %q", exitcode.Of(err), err, tc.want)
			}
		})
	}
	for _, text := range []string{"\"\": x\n", "file: x\n", "Content: {}\n", "- 1\n", "", "kind: &a Lock\n"} {
		if _, err := Parse("x.lock.yaml", []byte(text)); exitcode.Of(err) != exitcode.Usage {
			t.Errorf("%q: got %v, want bad input", text, err)
		}
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	old, now := example(), example()
	if got := now.Compare(old); len(got) != 0 {
		t.Errorf("equal locks differ: %v", got)
	}
	now.Packages[1].Version = "2.41-13"
	now.Packages[0].SHA256 = sum("b")
	now.Packages = append(now.Packages, Package{Name: "new", Version: "1"})
	now.Components = now.Components[:1]
	now.Kernel.Release = "6.12.2-amd64"
	var out strings.Builder
	if err := WriteChanges(&out, now.Compare(old)); err != nil {
		t.Fatal(err)
	}
	want := `~ kernel kernel 6.12.1-amd64 -> 6.12.2-amd64
- component kube-proxy-base sha256:777777777777
- package kube-proxy-base/kmod 34
- package kube-proxy-base/libc6 2.41-12+deb13u1
~ package libc6 2.41-12+deb13u1 -> 2.41-13
~ package linux-image-6.12.1-amd64 6.12.1-1 (other content) -> 6.12.1-1
+ package new 1
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	profile := filepath.Join(dir, "node.yaml")
	if l, err := Find("", profile); l != nil || err != nil {
		t.Errorf("without a file: %v, %v", l, err)
	}
	if l, err := Find("", "debian-13"); l != nil || err != nil {
		t.Errorf("built-in: %v, %v", l, err)
	}
	if _, err := Find(Beside(profile), profile); exitcode.Of(err) != exitcode.Usage || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("named and missing: %v", err)
	}
	if err := example().Write(Beside(profile)); err != nil {
		t.Fatal(err)
	}
	l, err := Find("", profile)
	if err != nil || l.File() != Beside(profile) {
		t.Fatalf("beside: %v", err)
	}
	if err := l.For(&profiles.Profile{Name: "node"}); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "lock --update") {
		t.Errorf("a lock of another state of the profile: %v", err)
	}
	if err := l.For(&profiles.Profile{Name: "other"}); err == nil || !strings.Contains(err.Error(), "not of other") {
		t.Errorf("a lock of another profile: %v", err)
	}
}
