package component

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
)

func isGoEnv(c run.Cmd) bool { return len(c.Argv) > 1 && c.Argv[0] == "go" && c.Argv[1] == "env" }

func libWith(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lib.a")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func emptyLib(t *testing.T) string { return libWith(t, "") }

func TestMissingTools(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		arch    string
		prepare func(*runtest.Fake)
		want    string
	}{
		"no go": {
			"amd64",
			func(f *runtest.Fake) { f.ExpectFunc("go env", isGoEnv).Fails(127, "unshare: failed to execute go") },
			"install Go",
		},
		"no gcc": {
			"amd64",
			func(f *runtest.Fake) {
				f.ExpectFunc("go env", isGoEnv).Returns(go1268)
				f.Expect("gcc", "--version").Fails(127, "unshare: failed to execute gcc")
			},
			"install gcc",
		},
		"no gcc for another architecture": {
			"arm64",
			func(f *runtest.Fake) {
				f.ExpectFunc("go env", isGoEnv).Returns(go1268)
				f.Expect("aarch64-linux-gnu-gcc", "--version").Fails(127, "unshare: failed to execute aarch64-linux-gnu-gcc")
			},
			"install gcc-aarch64-linux-gnu and libc6-dev-arm64-cross",
		},
		"no static libseccomp of another architecture": {
			"arm64",
			func(f *runtest.Fake) {
				f.ExpectFunc("go env", isGoEnv).Returns(go1268)
				f.Expect("aarch64-linux-gnu-gcc", "--version").Returns(gcc12)
				f.Expect("aarch64-linux-gnu-gcc", "-print-file-name=libc.a").Returns(emptyLib(t) + "\n")
				f.Expect("aarch64-linux-gnu-gcc", "-print-file-name=libseccomp.a").Returns("libseccomp.a\n")
			},
			"dpkg --add-architecture arm64 and apt-get update, libseccomp-dev:arm64",
		},
		"no static libseccomp": {
			"amd64",
			func(f *runtest.Fake) {
				f.ExpectFunc("go env", isGoEnv).Returns(go1268)
				f.Expect("gcc", "--version").Returns(gcc12)
				f.Expect("gcc", "-print-file-name=libc.a").Returns(emptyLib(t) + "\n")
				f.Expect("gcc", "-print-file-name=libseccomp.a").Returns("libseccomp.a\n")
			},
			"libseccomp-dev",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := runtest.New(t)
			tt.prepare(f)
			p := debian13(t)
			p.OS.Arch = tt.arch
			m, err := New(p, newStore(t), Options{Runner: f})
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.Component(t.Context(), "runc")
			if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "component runc") {
				t.Errorf("exit code %d, %v; expected bad input and %q", exitcode.Of(err), err, tt.want)
			}
			nothingLeft(t, m)
		})
	}
}

func TestAptErrors(t *testing.T) {
	t.Parallel()
	for stderr, code := range map[string]int{
		"E: The repository 'http://x trixie InRelease' is not signed.":                         exitcode.Usage,
		"W: GPG error: http://x trixie InRelease: ... NO_PUBKEY 0E98404D386FA1D9":              exitcode.Usage,
		"E: Unable to locate package iptablez":                                                 exitcode.Usage,
		"E: Failed to fetch http://x  Could not connect to x:80":                               exitcode.Infrastructure,
		"E: Failed to fetch http://x/dists/trixie/InRelease  Connection reset by peer [IP: x]": exitcode.Infrastructure,
	} {
		f := runtest.New(t)
		f.ExpectFunc("apt-get update", func(c run.Cmd) bool { return c.Argv[0] == "apt-get" && c.Argv[2] == "update" }).Fails(100, stderr)
		m, err := New(debian13(t), newStore(t), Options{Runner: f})
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Component(t.Context(), "kube-proxy-base")
		var failed *run.Error
		if exitcode.Of(err) != code || !errors.As(err, &failed) || !strings.Contains(err.Error(), "component kube-proxy-base") {
			t.Errorf("%q: exit code %d, %v; expected %d", stderr, exitcode.Of(err), err, code)
		}
		nothingLeft(t, m)
	}
}

func TestAptConfig(t *testing.T) {
	t.Parallel()
	work := filepath.Join(t.TempDir(), "w")
	p := debian13(t)
	path, err := writeAptConfig(work, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sources, err := os.ReadFile(filepath.Join(work, "etc/sources.list.d/profile.sources"))
	if err != nil {
		t.Fatal(err)
	}
	// Not one directory of the host's apt may be left in use.
	for _, dir := range []string{"Dir::State ", "Dir::State::status ", "Dir::Cache ", "Dir::Etc ", "Dir::Log "} {
		if !strings.Contains(string(config), dir+`"`+work) {
			t.Errorf("%s does not lie below the work directory:\n%s", dir, config)
		}
	}
	stanza := "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie trixie-updates\nComponents: main\nArchitectures: amd64\nSigned-By: " + p.Archive.Keyring + "\n"
	if !strings.Contains(string(sources), stanza) {
		t.Errorf("expected this stanza\n%s\nin\n%s", stanza, sources)
	}
	if got, want := strings.Count(string(sources), "Signed-By: "+p.Archive.Keyring), strings.Count(string(sources), "URIs:"); got != want || want != len(p.Archive.Sources) {
		t.Errorf("%d of %d sources are verified against the keyring, expected %d", got, want, len(p.Archive.Sources))
	}
}
