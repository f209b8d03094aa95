package bootstrap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// debOf is the content of the .deb that stands for a package here.
func debOf(name string) string { return "deb of " + name }

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func lockOf(names ...string) *lock.Lock {
	l := &lock.Lock{}
	for _, name := range names {
		version := map[string]string{"base-files": "13.8", "libc6": "2.41-12"}[name]
		l.Packages = append(l.Packages, lock.Package{Name: name, Version: version, Arch: "amd64", SHA256: sumOf(debOf(name)), Size: len(debOf(name)),
			URI: "http://m.invalid/debian", Path: "pool/" + name + ".deb", Priority: "required"})
	}
	return l
}

// lockedMaker has no archive: what it needs is in the store or comes from fetch.
func lockedMaker(t *testing.T, l *lock.Lock) (Maker, *[]string) {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	host := runtest.New(t)
	host.Expect("mmdebstrap", "--version").Returns("mmdebstrap 1.5\n").AnyTimes()
	host.ExpectFunc("dpkg-deb", func(c run.Cmd) bool {
		return c.Argv[0] == "dpkg-deb" && strings.Contains(c.Argv[2], sumOf(debOf("base-files")))
	}).AnyTimes().
		Returns("Package: base-files\nVersion: 13.8\nArchitecture: amd64\nPriority: optional\nDescription: files\n more\n .\n")
	host.ExpectFunc("dpkg-deb", func(c run.Cmd) bool { return c.Argv[0] == "dpkg-deb" }).AnyTimes().
		Returns("Package: libc6\nVersion: 2.41-12\nArchitecture: amd64\nEssential: yes\n")
	host.ExpectFunc("mmdebstrap", func(c run.Cmd) bool { return strings.Contains(run.Quote(c.Argv), "mmdebstrap --mode=root") }).AnyTimes().
		Does(func(_ context.Context, c run.Cmd) error {
			scratch := filepath.Dir(c.Argv[len(c.Argv)-1])
			sources, err := os.ReadFile(c.Argv[len(c.Argv)-1])
			index, indexErr := os.ReadFile(filepath.Join(scratch, "archive/dists/trixie/main/binary-amd64/Packages"))
			if !strings.Contains(string(sources), "URIs: copy://"+scratch) || strings.Contains(string(sources), "http") {
				t.Errorf("sources:\n%s", sources)
			}
			for _, p := range l.Packages {
				deb, err := os.ReadFile(filepath.Join(scratch, "archive/pool", p.SHA256+".deb"))
				if err != nil || string(deb) != debOf(p.Name) || !strings.Contains(string(index), "Filename: pool/"+p.SHA256+".deb\n") {
					t.Errorf("%s: %q, %v, index\n%s", p.Name, deb, err, index)
				}
			}
			if strings.Contains(string(index), "optional") {
				t.Errorf("the .deb's own priority won over the archive's:\n%s", index)
			}
			return errors.Join(err, indexErr,
				os.WriteFile(c.Argv[len(c.Argv)-2], []byte("tar"), 0o644),
				os.WriteFile(filepath.Join(scratch, statusName), []byte(status), 0o644),
				os.WriteFile(filepath.Join(scratch, kernelsName), []byte(sum('d')+"  /r/boot/vmlinuz-6.1\n"), 0o644))
		})
	asked := &[]string{}
	return Maker{Host: host, Store: s, Lock: l, sleep: noPause, Fetch: func(_ context.Context, p lock.Package, target string) error {
		*asked = append(*asked, p.Name)
		return os.WriteFile(target, []byte(debOf(p.Name)), 0o644)
	}}, asked
}

func TestALockedBase(t *testing.T) {
	t.Parallel()
	l := lockOf("base-files", "libc6")
	m, asked := lockedMaker(t, l)
	p := profile(t, "http://m.invalid/debian") // is not asked
	base, err := m.Make(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if len(*asked) != 2 || len(base.Packages) != 2 || base.Packages[0].SHA256 != l.Packages[0].SHA256 {
		t.Errorf("asked for %v, packages %v", *asked, base.Packages)
	}
	if len(base.Record.Kernels) != 1 || base.Record.Kernels[0] != (lock.Kernel{Release: "6.1", SHA256: sum('d')}) {
		t.Errorf("kernels %v", base.Record.Kernels)
	}
	m.Fetch = nil // offline
	if again, err := m.Make(t.Context(), p); err != nil || !again.Cached {
		t.Errorf("second time: %v, %v", again.Cached, err)
	}
	// Another lock is another base: the .debs are in the store.
	other := *l
	other.Packages = append([]lock.Package{}, l.Packages...)
	other.Packages[0].Path = "pool/elsewhere.deb"
	m.Lock = &other
	if again, err := m.Make(t.Context(), p); err != nil || again.Key == base.Key {
		t.Errorf("another lock offline: %v", err)
	}
}

func TestALockThatCannotBeBuilt(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		lock   *lock.Lock
		change func(*Maker)
		code   int
		want   []string
	}{
		"offline": {lockOf("base-files", "libc6"), func(m *Maker) { m.Fetch = nil }, exitcode.Usage,
			[]string{"base-files 13.8", "libc6 2.41-12", "build once with a network"}},
		"more was installed": {lockOf("base-files"), func(*Maker) {}, exitcode.Usage, []string{"libc6: found 2.41-12", "not in the lock"}},
		"other content": {lockOf("base-files", "libc6"), func(m *Maker) {
			m.Fetch = func(_ context.Context, _ lock.Package, target string) error {
				return os.WriteFile(target, []byte("evil"), 0o644)
			}
		}, exitcode.Infrastructure, []string{"expected " + sumOf(debOf("libc6"))[:8]}},
		"fetch fails": {lockOf("base-files", "libc6"), func(m *Maker) {
			m.Fetch = func(_ context.Context, p lock.Package, _ string) error {
				return exitcode.Transient(errors.New(p.Name + " is gone"))
			}
		}, exitcode.Infrastructure, []string{"base-files is gone", "libc6 is gone"}},
		"another version": {func() *lock.Lock { l := lockOf("base-files", "libc6"); l.Packages[1].Version = "2.40"; return l }(), func(*Maker) {}, exitcode.Usage,
			[]string{"libc6 2.41-12 for amd64, expected 2.40"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, _ := lockedMaker(t, tc.lock)
			tc.change(&m)
			_, err := m.Make(t.Context(), profile(t, "http://m.invalid/debian"))
			if exitcode.Of(err) != tc.code {
				t.Errorf("code %d, want %d: %v", exitcode.Of(err), tc.code, err)
			}
			for _, want := range tc.want {
				if err != nil && !strings.Contains(err.Error(), want) && name != "other content" {
					t.Errorf("the error lacks %q: %v", want, err)
				}
			}
			if name == "other content" && (err == nil || !strings.Contains(err.Error(), "has sha256 "+sumOf("evil"))) {
				t.Errorf("another file was taken: %v", err)
			}
			for _, sub := range []string{"entries", "tmp", "scratch"} {
				if left, _ := os.ReadDir(filepath.Join(m.Store.Dir(), sub)); len(left) > 0 {
					t.Errorf("left in %s: %v", sub, left)
				}
			}
		})
	}
}

func TestSourceOf(t *testing.T) {
	t.Parallel()
	p := profile(t, "http://a.example/debian_x")
	p.Archive.Sources = append(p.Archive.Sources, p.Archive.Sources[0])
	p.Archive.Sources[1].URI = "https://b.example/debian/"
	for name, want := range map[string]string{
		"a.example_debian%5fx_dists_trixie_main_binary-amd64_Packages": "http://a.example/debian_x",
		"b.example_debian_dists_trixie-updates_main_Packages":          "https://b.example/debian/",
		"c.example_debian_dists_trixie_main_Packages":                  "",
		"a.example_debian%5fx_dists_sid_main_Packages":                 "",
	} {
		if got := sourceOf(p.Archive.Sources, nil, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	// A list has the address that was asked, and is of the archive it stands for.
	mirrors, err := fetch.ParseMirrors("b.example=http://mirror.example/b")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := sourceOf(p.Archive.Sources, mirrors, "mirror.example_b_debian_dists_trixie_main_Packages"), "https://b.example/debian/"; got != want {
		t.Errorf("by a mirror: got %q, want %q", got, want)
	}
}
