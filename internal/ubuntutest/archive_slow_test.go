//go:build integration && slow

package ubuntutest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/builder"
	"github.com/nodeimage/packer-plugin-nodeimage/builder/bootstrap"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newArchive is a stand-in for a release of Ubuntu.
func newArchive(t *testing.T, o Options) *Archive {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root")
	}
	begin := time.Now()
	a, err := New(t.Context(), t.TempDir(), o)
	must(t, err)
	t.Cleanup(a.Close)
	t.Logf("the archive was made in %.1f s: %d files of its own, %d packages of Debian", time.Since(begin).Seconds(), len(a.files), len(a.origin))
	return a
}

func writeProfile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stand-in.yaml")
	must(t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

// TestStandIn has one archive for all, since making it takes most of the time.
func TestStandIn(t *testing.T) {
	a := newArchive(t, Noble(run.Host{}))
	t.Run("apt", func(t *testing.T) { aptReadsTheArchive(t, a) })
	t.Run("refusals", func(t *testing.T) { refusedArchives(t, a) })
	t.Run("build", func(t *testing.T) { buildFromTheArchive(t, a) })
}

// small leaves out what no kernel and boot loader need.
const small = `standIns: ["` + StandIn + `"]
packages:
  include: {network: [], security: [], cloud: [], ssh: [], time: [], container: [], admin: []}
disk: {size: 4GiB, formats: [qcow2]}
`

// buildFromTheArchive builds ubuntu-24.04, without what Kubernetes needs,
// from the stand-in at a past moment: index and packages are verified with its
// key, and the image says that it is Ubuntu, and that it is not.
//
// The archive is asked as a mirror, of a host that there is not.
func buildFromTheArchive(t *testing.T, a *Archive) {
	text := strings.Replace(a.Profile("small-ubuntu", "ubuntu-24.04", small), "archive:\n", "archive:\n  snapshot: 20261101T000000Z\n", 1)
	text = strings.ReplaceAll(text, a.server.URL, "http://archive.invalid")
	file := writeProfile(t, text)
	out := t.TempDir()
	var b builder.Builder
	_, _, err := b.Prepare(map[string]any{"profile": file, "output_directory": out, "cache_directory": filepath.Join(t.TempDir(), "cache")})
	must(t, err)
	b.UseMirrors([]string{"archive.invalid=" + a.server.URL})
	begin := time.Now()
	if _, err := b.Run(t.Context(), console.New(testWriter{t}), noProvisioner{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("built in %.1f s", time.Since(begin).Seconds())

	manifest, err := os.ReadFile(filepath.Join(out, "small-ubuntu.manifest.json"))
	must(t, err)
	for _, want := range []string{`"standIns": [`, StandIn[:16], `"linux-image-virtual"`, "ubuntu1~standin", `"usr-is-merged"`} {
		if !strings.Contains(string(manifest), want) {
			t.Errorf("the manifest has no %s", want)
		}
	}
	image, err := target.Open(t.Context(), filepath.Join(out, "small-ubuntu.qcow2"))
	must(t, err)
	t.Cleanup(func() { must(t, image.Close()) })
	for name, want := range map[string]string{
		"etc/os-release":                                "ID=ubuntu\n",
		"etc/apt/sources.list.d/ubuntu.sources":         "URIs: http://archive.invalid/ubuntu\nSuites: noble noble-updates\nComponents: main universe\nSigned-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg\n",
		"boot/grub/grub.cfg":                            "linux /boot/vmlinuz root=UUID=",
		"usr/share/keyrings/ubuntu-archive-keyring.gpg": "",
	} {
		data, err := image.Root().ReadFile(name)
		if err != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s: %v, no %q in:\n%s", name, err, want, data)
		}
	}
}

// refusedArchives: what is not signed by the profile's key, and a suite
// that is not there, are bad input, and nothing is made.
func refusedArchives(t *testing.T, a *Archive) {
	good := a.Profile("ubuntu", "ubuntu-24.04", small)
	for name, test := range map[string]struct {
		text string
		want string
	}{
		"signed by another key":       {strings.Replace(good, a.Keyring, a.o.Keyring, 1), "is not signed by a key of " + a.o.Keyring},
		"no such suite":               {strings.Replace(good, "noble-updates", "noble-backports", 1), "has no suite noble-backports"},
		"a package that is not there": {good + "kernel: {package: linux-image-realtime}\n", "packages of the profile cannot be installed"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := profiles.Load(writeProfile(t, test.text))
			must(t, err)
			s, err := store.Open(t.TempDir())
			must(t, err)
			_, err = bootstrap.Maker{Host: run.Host{}, Store: s}.Make(t.Context(), p)
			if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), test.want) {
				t.Errorf("exit code %d, %v: want bad input, %q", exitcode.Of(err), err, test.want)
			}
			if left, _ := filepath.Glob(filepath.Join(s.Dir(), "entries", "*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// aptReadsTheArchive is the shape as apt sees it: three suites, two
// components, and the kernel's metapackages leading to a kernel.
func aptReadsTheArchive(t *testing.T, a *Archive) {
	apt := filepath.Join(t.TempDir(), "apt")
	for _, sub := range []string{"lists/partial", "archives/partial", "empty"} {
		must(t, os.MkdirAll(filepath.Join(apt, sub), 0o755))
	}
	var config strings.Builder
	for key, value := range map[string]string{"Dir::State": apt, "Dir::Cache": apt, "Dir::State::status": apt + "/status", "Dir::Etc::sourcelist": apt + "/sources.list",
		"Dir::Etc::sourceparts": apt + "/empty", "Dir::Etc::parts": apt + "/empty", "APT::Architecture": "amd64", "APT::Architectures": "amd64", "APT::Sandbox::User": "root", "Acquire::Languages": "none"} {
		fmt.Fprintf(&config, "%s %q;\n", key, value)
	}
	must(t, os.WriteFile(apt+"/status", nil, 0o644))
	must(t, os.WriteFile(apt+"/apt.conf", []byte(config.String()), 0o644))
	must(t, os.WriteFile(apt+"/sources.list", []byte(fmt.Sprintf(
		"deb [signed-by=%[1]s] %[2]s noble main universe\ndeb [signed-by=%[1]s] %[2]s noble-updates main universe\ndeb [signed-by=%[1]s] %[2]s noble-security main universe\n", a.Keyring, a.URL)), 0o644))
	say := func(argv ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "APT_CONFIG="+apt+"/apt.conf")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
		return string(out)
	}
	say("apt-get", "update", "--error-on=any")
	if got := say("apt-cache", "policy", "libnss-myhostname"); !strings.Contains(got, "noble/universe amd64") {
		t.Errorf("libnss-myhostname is not in universe:\n%s", got)
	}
	got := say("apt-get", "--simulate", "--no-install-recommends", "install", "linux-image-virtual")
	for _, want := range []string{"Inst linux-image-virtual ", "Inst linux-image-generic ", "Inst linux-image-6.", "Ubuntu:24.04/noble"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	p, err := profiles.Load(writeProfile(t, a.Profile("ubuntu", "ubuntu-24.04", small)))
	must(t, err)
	if releases, err := bootstrap.FetchReleases(t.Context(), p.Archive, nil); err != nil || len(releases) != 3 {
		t.Errorf("%d releases, %v", len(releases), err)
	}
}

type noProvisioner struct{}

func (noProvisioner) Run(context.Context, string, packersdk.Ui, packersdk.Communicator, any) error {
	return nil
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}
