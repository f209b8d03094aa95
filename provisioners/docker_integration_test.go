//go:build integration

package provisioners_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/ubuntutest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/runtime"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// dockerArchive is a stand-in for Docker's archive with those versions. Their
// programs are none.
func dockerArchive(t *testing.T, versions ...string) *ubuntutest.Docker {
	t.Helper()
	dir := t.TempDir()
	var packages []ubuntutest.Containerd
	for _, version := range versions {
		p := ubuntutest.Containerd{Version: version, Programs: map[string]string{}}
		for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc"} {
			file := filepath.Join(dir, version+"-"+name)
			must(t, os.WriteFile(file, []byte("#!/bin/sh\n# "+version+"\n"), 0o755))
			p.Programs[name] = file
		}
		packages = append(packages, p)
	}
	d, err := ubuntutest.NewDocker(t.Context(), dir, ubuntutest.Noble(run.Host{}), packages...)
	must(t, err)
	t.Cleanup(d.Close)
	return d
}

// onDocker is the Docker flavour with that archive alone.
func onDocker(t *testing.T, d *ubuntutest.Docker, keyring, version, sum string) *profiles.Profile {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mine.yaml")
	text := fmt.Sprintf(`apiVersion: nodeimage.dev/v1alpha1
kind: Profile
name: mine
extends: ubuntu-24.04-docker
archive:
  sources: [{uri: %q, suites: [noble], components: [stable], keyring: %q}]
components:
  containerd: {version: %q, sha256: {amd64: %q}}
standIns: [%q]
`, d.URL, keyring, version, sum, ubuntutest.DockerStandIn)
	must(t, os.WriteFile(file, []byte(text), 0o644))
	p, err := profiles.Load(file)
	must(t, err)
	return p
}

func fetchContainerd(t *testing.T, p *profiles.Profile) (component.Built, error) {
	t.Helper()
	s, err := store.Open(t.TempDir())
	must(t, err)
	maker, err := component.New(p, s, component.Options{Logf: t.Logf})
	must(t, err)
	return maker.Component(t.Context(), "containerd")
}

const (
	dockerOld = "2.3.6-1~ubuntu.24.04~noble"
	dockerNew = "2.3.7-1~ubuntu.24.04~noble"
)

// The pinned version is taken although there is a newer one, its CRI is disabled,
// and what the runtime's plan writes in its place enables it.
func TestDockersPackageBecomesANode(t *testing.T) {
	d := dockerArchive(t, dockerOld, dockerNew)
	p := onDocker(t, d, d.Keyring, dockerOld, d.Sums[dockerOld])
	built, err := fetchContainerd(t, p)
	must(t, err)
	if len(built.Files) != 1 || built.Files[0].SHA256 != d.Sums[dockerOld] || built.Record.Version != dockerOld {
		t.Fatalf("got %+v, expected the one package of %s", built, dockerOld)
	}
	root := t.TempDir()
	// As dpkg would, but for its script, which has no system to run in here.
	output(t, "dpkg-deb", "--extract", built.Files[0].Path, root)
	must(t, os.MkdirAll(filepath.Join(root, "var/lib/dpkg/info"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "var/lib/dpkg/info/containerd.io.list"), []byte("/usr/bin/containerd\n/usr/bin/runc\n"), 0o644))
	stanza := "Status: install ok installed\n" + output(t, "dpkg-deb", "--field", built.Files[0].Path)
	must(t, os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), []byte(stanza), 0o644))
	must(t, os.WriteFile(filepath.Join(root, "etc/os-release"), []byte("ID=ubuntu\nVERSION_ID=\"24.04\"\n"), 0o644))
	if got := criDisabled(t, root); got != "fail" {
		t.Errorf("the package's own configuration: containerd-cri-disabled is %q, expected fail", got)
	}
	made, err := runtime.Plan(p, nil)
	must(t, err)
	placed := map[string]bool{}
	for _, step := range made.Steps {
		if step.File == nil {
			continue
		}
		placed[step.File.Path] = true
		if step.File.Content != "" {
			file := filepath.Join(root, step.File.Path)
			must(t, os.MkdirAll(filepath.Dir(file), 0o755))
			must(t, os.WriteFile(file, []byte(step.File.Content), 0o644))
		}
	}
	if got := criDisabled(t, root); got != "pass" {
		t.Errorf("the plan's configuration: containerd-cri-disabled is %q, expected pass", got)
	}
	config, err := os.ReadFile(filepath.Join(root, runtime.ConfigPath))
	must(t, err)
	if !strings.Contains(string(config), "BinaryName = '/usr/bin/runc'") {
		t.Errorf("the configuration names another runc:\n%s", config)
	}
	for _, name := range []string{"/usr/bin/containerd", "/usr/local/bin/containerd", "/usr/bin/runc", "/usr/local/sbin/runc"} {
		if placed[name] {
			t.Errorf("the plan places %s, which the package brings", name)
		}
	}
}

// criDisabled is the outcome of that check.
func criDisabled(t *testing.T, root string) string {
	t.Helper()
	tg, err := target.Open(context.Background(), root)
	must(t, err)
	defer tg.Close()
	report, err := validate.Run(t.Context(), tg, nil, nil)
	must(t, err)
	for _, f := range report.Findings {
		if f.ID == "containerd-cri-disabled" {
			return string(f.Outcome)
		}
	}
	return "not judged"
}

// What is not what was pinned, or not signed by whom it should be, is refused.
func TestDockersPackageIsRefused(t *testing.T) {
	d := dockerArchive(t, dockerOld)
	keyring, sums, other := d.Keyring, d.Sums, dockerArchive(t, dockerOld).Keyring
	for name, tt := range map[string]struct {
		keyring, version, sum string
		want                  []string
	}{
		"another sum":           {keyring, dockerOld, strings.Repeat("0", 64), []string{"package containerd.io " + dockerOld + " has sha256 " + sums[dockerOld], "expected " + strings.Repeat("0", 64) + ", which the profile pins"}},
		"a version that is not": {keyring, "2.3.5-1", sums[dockerOld], []string{"containerd.io", "2.3.5-1"}},
		"another key":           {other, dockerOld, sums[dockerOld], []string{"NO_PUBKEY"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := fetchContainerd(t, onDocker(t, d, tt.keyring, tt.version, tt.sum))
			if err == nil {
				t.Fatal("it was taken")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not said in: %v", want, err)
				}
			}
			if name != "a version that is not" && exitcode.Of(err) != exitcode.Usage {
				t.Errorf("exit code %d", exitcode.Of(err))
			}
		})
	}
}
