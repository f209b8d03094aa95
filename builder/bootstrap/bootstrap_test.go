package bootstrap

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

const status = `Package: base-files
Status: install ok installed
Architecture: amd64
Version: 13.8
Description: files
 continued: here

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: libc6
Status: hold ok installed
Architecture: amd64
Version: 2.41-12
`

func sum(c byte) string { return strings.Repeat(string(c), 64) }

func stanza(name, version, arch, sha string) string {
	return fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nSHA256: %s\nSize: 1\nFilename: pool/%s.deb\nPriority: required\n\n", name, version, arch, sha, name)
}

func profile(t *testing.T, uri string) *profiles.Profile {
	t.Helper()
	keyring := filepath.Join(t.TempDir(), "archive.gpg")
	if err := os.WriteFile(keyring, []byte("key"), 0o644); err != nil {
		t.Fatal(err)
	}
	return &profiles.Profile{
		OS: profiles.OS{Distribution: "debian", Version: "13", Codename: "trixie", Arch: "amd64"},
		Archive: profiles.Archive{Keyring: keyring, Sources: []profiles.ArchiveSource{
			{URI: uri, Suites: []string{"trixie", "trixie-updates"}, Components: []string{"main"}},
		}},
		Packages: profiles.Packages{Variant: "minbase", Include: map[string][]string{"a": {"systemd"}, "b": {"apparmor"}}},
		Kernel:   profiles.Kernel{Package: "linux-image-amd64"},
	}
}

// dated is a Release file as far as it is read here.
func dated(text string) string { return "Date: Sat, 15 Nov 2025 10:00:00 UTC\n" + text }

// mirror serves InRelease files whose content the map gives by suite.
func mirror(t *testing.T, releases map[string]string) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		suite := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/debian/dists/"), "/InRelease")
		content, ok := releases[suite]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(content))
	}))
	t.Cleanup(srv.Close)
	return srv
}

func listsTar(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: "./" + name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// newMaker returns a maker whose mmdebstrap leaves dpkg's status and these
// lists, and fails with stderr when that is not empty.
func newMaker(t *testing.T, lists map[string]string, stderr string) (Maker, *runtest.Fake, *runtest.Call) {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	host := runtest.New(t)
	host.Expect("mmdebstrap", "--version").Returns("mmdebstrap 1.5\n").AnyTimes()
	call := host.ExpectFunc("mmdebstrap", func(c run.Cmd) bool { return strings.Contains(run.Quote(c.Argv), "mmdebstrap --mode=root") })
	if stderr != "" {
		call.Fails(25, stderr)
	} else {
		call.Does(func(_ context.Context, c run.Cmd) error {
			out := c.Argv[len(c.Argv)-2]
			scratch := filepath.Dir(c.Argv[len(c.Argv)-1])
			return errors.Join(
				os.WriteFile(out, []byte("tar"), 0o644),
				os.WriteFile(filepath.Join(scratch, statusName), []byte(status), 0o644),
				os.WriteFile(filepath.Join(scratch, listsName), listsTar(t, lists), 0o644),
			)
		})
	}
	return Maker{Host: host, Store: s, sleep: noPause}, host, call
}

func noPause(context.Context, time.Duration) error { return nil }

func goodLists() map[string]string {
	return map[string]string{
		"m_dists_trixie_InRelease":                          dated("one"),
		"m_dists_trixie-updates_InRelease":                  dated("two"),
		"m_dists_trixie_main_binary-amd64_Packages":         stanza("base-files", "13.8", "amd64", sum('a')) + stanza("libc6", "2.40", "amd64", sum('0')),
		"m_dists_trixie-updates_main_binary-amd64_Packages": stanza("libc6", "2.41-12", "amd64", sum('b')) + stanza("other", "1", "amd64", sum('c')),
		"partial/m_Packages":                                stanza("base-files", "13.8", "amd64", sum('f')),
	}
}

func TestMake(t *testing.T) {
	t.Parallel()
	releases := map[string]string{"trixie": dated("one"), "trixie-updates": dated("two")}
	srv := mirror(t, releases)
	p := profile(t, srv.URL+"/debian")
	m, host, _ := newMaker(t, goodLists(), "")
	base, err := m.Make(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	want := []manifest.Package{
		{Name: "base-files", Version: "13.8", Arch: "amd64", SHA256: sum('a')},
		{Name: "libc6", Version: "2.41-12", Arch: "amd64", SHA256: sum('b')},
	}
	if diff := cmp.Diff(want, base.Packages); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if content, err := os.ReadFile(base.Tar); err != nil || string(content) != "tar" || base.Cached {
		t.Errorf("tar: %q, %v, cached %v", content, err, base.Cached)
	}

	// An unchanged archive is a hit: mmdebstrap is expected once only.
	again, err := m.Make(t.Context(), p)
	if err != nil || !again.Cached || again.Key != base.Key {
		t.Errorf("second time: %+v, %v", again, err)
	}
	if diff := cmp.Diff(want, again.Packages); diff != "" {
		t.Errorf("packages from the cache (-want +got):\n%s", diff)
	}
	if n := len(host.Calls()); n != 3 {
		t.Errorf("%d commands were run, want 3: %v", n, host.Calls())
	}
}

func TestTheKeyFollowsItsInputs(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*profiles.Profile, map[string]string){
		"archive": func(_ *profiles.Profile, r map[string]string) { r["trixie"] = dated("newer") },
		"package": func(p *profiles.Profile, _ map[string]string) { p.Packages.Include["a"] = []string{"systemd", "vim"} },
		"variant": func(p *profiles.Profile, _ map[string]string) { p.Packages.Variant = "apt" },
		"components": func(p *profiles.Profile, _ map[string]string) {
			p.Archive.Sources[0].Components = []string{"main", "contrib"}
		},
		"keyring": func(p *profiles.Profile, _ map[string]string) {
			if err := os.WriteFile(p.Archive.Keyring, []byte("other key"), 0o644); err != nil {
				panic(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			releases := map[string]string{"trixie": dated("one"), "trixie-updates": dated("two")}
			srv := mirror(t, releases)
			p := profile(t, srv.URL+"/debian")
			m, _, _ := newMaker(t, goodLists(), "")
			if _, err := m.Make(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			change(p, releases)
			// It must ask mmdebstrap again, which fails here.
			host := runtest.New(t)
			host.Expect("mmdebstrap", "--version").Returns("mmdebstrap 1.5\n")
			host.ExpectFunc("mmdebstrap", func(c run.Cmd) bool { return len(c.Argv) > 5 }).Fails(1, "asked again")
			m.Host = host
			if _, err := m.Make(t.Context(), p); err == nil || !strings.Contains(err.Error(), "asked again") {
				t.Errorf("got %v: the cached base was used", err)
			}
		})
	}
}

func TestBadDays(t *testing.T) {
	t.Parallel()
	changed := goodLists()
	changed["m_dists_trixie_InRelease"] = dated("newer than the key")
	unlisted := goodLists()
	delete(unlisted, "m_dists_trixie_main_binary-amd64_Packages")
	twice := goodLists()
	twice["x_Packages"] = stanza("libc6", "2.41-12", "amd64", sum('e'))
	for name, tc := range map[string]struct {
		lists  map[string]string
		stderr string
		code   int
		want   []string
	}{
		"archive changed":  {lists: changed, code: exitcode.Infrastructure, want: []string{"suite trixie", "run the build again"}},
		"not in the index": {lists: unlisted, code: exitcode.Infrastructure, want: []string{"base-files 13.8"}},
		"two digests":      {lists: twice, code: exitcode.Infrastructure, want: []string{"libc6 2.41-12", sum('e'), sum('b')}},
		"unknown key": {
			stderr: "W: GPG error: http://m trixie InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 6ED0E7B82643E131\nE: The repository 'http://m trixie InRelease' is not signed.",
			code:   exitcode.Usage, want: []string{"NO_PUBKEY 6ED0E7B82643E131", "archive.keyring", "archive.gpg"},
		},
		"cut": {
			stderr: "E: Failed to fetch http://m/p.deb  Error reading from server - read (104: Connection reset by peer)",
			code:   exitcode.Infrastructure, want: []string{"http://", "p.deb", "try again"},
		},
		"unknown package": {stderr: "E: Unable to locate package no-such-thing", code: exitcode.Usage, want: []string{"no-such-thing"}},
		"disk full": {
			stderr: "dpkg: error processing archive: cannot copy extracted data: failed to write (No space left on device)",
			code:   exitcode.Infrastructure, want: []string{"disk is full"},
		},
		"old archive": {
			stderr: "E: Release file for http://m/dists/trixie/InRelease is expired (invalid since 2d). Updates for this repository will not be applied.",
			code:   exitcode.Infrastructure, want: []string{"out of date", "clock"},
		},
		"something else": {stderr: "E: out of cheese", code: exitcode.Infrastructure, want: []string{"out of cheese", "mmdebstrap"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := mirror(t, map[string]string{"trixie": dated("one"), "trixie-updates": dated("two")})
			m, _, call := newMaker(t, tc.lists, tc.stderr)
			call.AnyTimes() // retry_test.go counts
			_, err := m.Make(t.Context(), profile(t, srv.URL+"/debian"))
			if err == nil {
				t.Fatal("no error")
			}
			if code := exitcode.Of(err); code != tc.code {
				t.Errorf("exit code %d, want %d: %v", code, tc.code, err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
			for _, sub := range []string{"entries", "tmp", "scratch"} {
				if left, _ := os.ReadDir(filepath.Join(m.Store.Dir(), sub)); len(left) > 0 {
					t.Errorf("left in %s: %v", sub, left)
				}
			}
		})
	}
}

func TestUnreachableMirrors(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("half of it"))
	}))
	t.Cleanup(cut.Close)
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusBadGateway) }))
	t.Cleanup(busy.Close)
	empty := mirror(t, nil)
	for name, tc := range map[string]struct {
		uri  string
		code int
		want string
	}{
		"closed":   {gone.URL, exitcode.Infrastructure, "connection refused"},
		"cut":      {cut.URL, exitcode.Infrastructure, "unexpected EOF"},
		"busy":     {busy.URL, exitcode.Infrastructure, "502"},
		"no suite": {empty.URL, exitcode.Usage, "has no suite trixie"},
		"no file":  {"file:///no/such/mirror", exitcode.Usage, "has no suite trixie"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, _, call := newMaker(t, goodLists(), "")
			call.AnyTimes() // never asked
			_, err := m.Make(t.Context(), profile(t, tc.uri))
			if code := exitcode.Of(err); err == nil || code != tc.code || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.uri) {
				t.Errorf("got code %d, %v, want %d and %q", code, err, tc.code, tc.want)
			}
			if err != nil && !strings.Contains(err.Error(), "trixie-updates") {
				t.Errorf("not all suites are reported: %v", err)
			}
		})
	}
}

func TestFetchReleasesFromFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "dists/trixie"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dists/trixie/InRelease"), []byte(dated("x")), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := FetchReleases(t.Context(), profiles.Archive{Sources: []profiles.ArchiveSource{{URI: "file://" + dir, Suites: []string{"trixie"}}}}, nil)
	sum := sha256.Sum256([]byte(dated("x")))
	want := []Release{{URI: "file://" + dir, Suite: "trixie", SHA256: hex.EncodeToString(sum[:]), Date: time.Date(2025, 11, 15, 10, 0, 0, 0, time.UTC)}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
}

// A mirror is asked in the place of the archive, whose the answer is; an error
// says which of the two did not answer.
func TestReleasesByAMirror(t *testing.T) {
	t.Parallel()
	srv := mirror(t, map[string]string{"trixie": dated("one"), "trixie-updates": dated("two")})
	mirrors, err := fetch.ParseMirrors("archive.invalid=" + srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	archive := profile(t, "http://archive.invalid/debian").Archive
	got, err := FetchReleases(t.Context(), archive, mirrors)
	if err != nil || len(got) != 2 || got[0].URI != "http://archive.invalid/debian" || got[1].URI != got[0].URI {
		t.Errorf("%+v, %v", got, err)
	}
	srv.Close()
	_, err = FetchReleases(t.Context(), archive, mirrors)
	if want := "mirror " + srv.URL + "/debian (for http://archive.invalid/debian, by NODEIMAGE_MIRRORS or --mirror) cannot be read"; exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestWhatIsNoReleaseFileIsNotTakenForOne(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"<html>Log in to this network</html>": "no Release file",
		"Date: yesterday\n":                   `"yesterday"`,
	} {
		srv := mirror(t, map[string]string{"trixie": text, "trixie-updates": dated("two")})
		_, err := FetchReleases(t.Context(), profile(t, srv.URL+"/debian").Archive, nil)
		if exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestNothingIsYoungerThanTheArchive(t *testing.T) {
	t.Parallel()
	srv := mirror(t, map[string]string{"trixie": "Date: Sat, 15 Nov 2025 10:00:00 UTC\n", "trixie-updates": "Date: Sun,  2 Nov 2025 10:00:00 UTC\n"})
	releases, err := FetchReleases(t.Context(), profile(t, srv.URL+"/debian").Archive, nil)
	if err != nil {
		t.Fatal(err)
	}
	last := newest(releases)
	if want := time.Date(2025, 11, 15, 10, 0, 0, 0, time.UTC); !last.Equal(want) {
		t.Errorf("the last release is of %v, want %v", last, want)
	}
	if got := environment("/t", last); !slices.Contains(got, "SOURCE_DATE_EPOCH=1763200800") {
		t.Errorf("mmdebstrap is not told: %v", got)
	}
}

// Of the caller's environment, only what leads to programs and the archive.
func TestMmdebstrapIsAloneWithItsEnvironment(t *testing.T) {
	for name, value := range map[string]string{"PATH": "/p", "https_proxy": "http://proxy:1", "PYTHONDONTWRITEBYTECODE": "1", "APT_CONFIG": "/x", "LC_ALL": "tr_TR"} {
		t.Setenv(name, value)
	}
	for _, name := range run.Proxies() {
		if name != "https_proxy" {
			t.Setenv(name, "")
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{"env", "-i", "PATH=/p", "https_proxy=http://proxy:1", "TZ=UTC", "true"}
	if diff := cmp.Diff(want, alone([]string{"TZ=UTC"}, []string{"true"})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMissingKeyring(t *testing.T) {
	t.Parallel()
	p := profile(t, "http://localhost/")
	p.Archive.Keyring = "/no/such/keyring.gpg"
	m := Maker{Host: runtest.New(t)}
	if _, err := m.Make(t.Context(), p); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "debian-archive-keyring") {
		t.Errorf("got %v, want bad input that names the package", err)
	}
}

func TestArgv(t *testing.T) {
	t.Parallel()
	p := profile(t, "http://deb.debian.org/debian")
	p.Archive.Keyring = "/usr/share/keyrings/k.gpg"
	want := []string{
		"mmdebstrap", "--mode=root", "--format=tar", "--skip=output/dev", "--variant=minbase", "--architectures=amd64", "--keyring=/usr/share/keyrings/k.gpg",
		`--aptopt=APT::Install-Recommends "false"`, `--aptopt=Acquire::Languages "none"`, `--aptopt=Acquire::Retries "3"`,
		`--aptopt=Acquire::http::Timeout "60"`, `--aptopt=Acquire::https::Timeout "60"`, `--aptopt=Acquire::GzipIndexes "false"`,
		"--include=apparmor,linux-image-amd64,systemd",
		"--extract-hook=" + exclude(),
		"--skip=essential/unlink",
		"--essential-hook=" + putOff, "--customize-hook=" + catchUp,
		"--customize-hook=" + leftovers,
		`--customize-hook=mkdir -p '/s p/debs' && find "$1/var/cache/apt/archives" -maxdepth 1 -name '*.deb' -exec cp -t '/s p/debs' -- {} + && ` +
			`find "$1/boot" -maxdepth 1 -type f -name 'vmlinuz-*' -exec sha256sum -- {} + > '/s p/kernels'`,
		"--customize-hook=download /var/lib/dpkg/status '/s p/status'",
		"--customize-hook=tar-out /var/lib/apt/lists '/s p/lists.tar'",
		"trixie", "/out.tar", "/s p/x.sources",
	}
	if diff := cmp.Diff(want, Argv(p, "/s p/x.sources", "/out.tar", "/s p")); diff != "" {
		t.Errorf("command line (-want +got):\n%s", diff)
	}
	wantSources := "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie trixie-updates\nComponents: main\nSigned-By: /k.gpg\n"
	p.Archive.Keyring = "/k.gpg"
	if diff := cmp.Diff(wantSources, Sources(p.Archive.Effective(), false)); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}

// What only some profiles ask for: an exact package, a merged /usr, a past
// state of the archive, a second publisher.
func TestArgvOfOtherProfiles(t *testing.T) {
	t.Parallel()
	p := profile(t, "http://archive.ubuntu.com/ubuntu")
	p.Packages.Include["a"] = append(p.Packages.Include["a"], "usr-is-merged")
	p.Components = map[string]profiles.Component{
		"containerd": {Source: profiles.SourceDeb, Version: "2.3.6-1", Packages: []string{"containerd.io", "pigz"}},
		"runc":       {Source: profiles.SourceDeb, Version: "1.5.1", Packages: []string{"containerd.io"}},
	}
	got := strings.Join(Argv(p, "s", "o", "/s"), "\n")
	for _, want := range []string{"--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr\n", "--include=apparmor,containerd.io=2.3.6-1,linux-image-amd64,pigz,systemd,usr-is-merged\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	p.Archive.Snapshot = "20261101T000000Z"
	p.Archive.Sources[0].SnapshotURI = "https://snapshot.ubuntu.com/ubuntu/{snapshot}"
	p.Archive.Sources = append(p.Archive.Sources, profiles.ArchiveSource{
		URI: "https://download.docker.com/linux/ubuntu", SnapshotURI: "http://mirror.example/{snapshot}", Suites: []string{"noble"}, Components: []string{"stable"}, Keyring: "/d.asc"})
	want := "Types: deb\nURIs: https://snapshot.ubuntu.com/ubuntu/20261101T000000Z\nSuites: trixie trixie-updates\nComponents: main\nSigned-By: " + p.Archive.Keyring + "\nCheck-Valid-Until: no\n\n" +
		"Types: deb\nURIs: http://mirror.example/20261101T000000Z\nSuites: noble\nComponents: stable\nSigned-By: /d.asc\nCheck-Valid-Until: no\n"
	if diff := cmp.Diff(want, Sources(p.Archive.Effective(), true)); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}

func TestMissingKeyrings(t *testing.T) {
	t.Parallel()
	p := profile(t, "http://archive.ubuntu.com/ubuntu")
	p.OS.Distribution, p.Archive.Keyring = "ubuntu", "/no/such/ubuntu.gpg"
	p.Archive.Sources[0].Keyring = "/no/such/docker.asc"
	_, err := Maker{Host: runtest.New(t)}.Make(t.Context(), p) // which expects no command
	if exitcode.Of(err) != exitcode.Usage {
		t.Fatalf("%v, expected bad input before anything is run", err)
	}
	for _, want := range []string{"archive.keyring /no/such/ubuntu.gpg is not on this host: install the package ubuntu-keyring", "keyring /no/such/docker.asc of a source"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

func TestInstalledRefusesHalfInstalled(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"Package: x\nStatus: install ok half-configured\nVersion: 1\nArchitecture: all\n",
		"Package: x\nStatus: install\n", "Version: 1\n",
	} {
		if got, err := Installed(strings.NewReader(text)); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	packages := []manifest.Package{{Name: "a", Version: "1", Arch: "all"}, {Name: "b", Version: "2", Arch: "amd64"}, {Name: "c", Version: "1", Arch: "amd64"}}
	record := []manifest.Package{{Name: "a", Version: "1", Arch: "all", SHA256: sum('a')}, {Name: "b", Version: "1", Arch: "amd64", SHA256: sum('b')}}
	unknown := Resolve(packages, record)
	if diff := cmp.Diff([]string{"b 2", "c 1"}, unknown); diff != "" {
		t.Errorf("unknown (-want +got):\n%s", diff)
	}
	if packages[0].SHA256 != sum('a') || packages[1].SHA256 != "" {
		t.Errorf("got %v", packages)
	}
}
