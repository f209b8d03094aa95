//go:build integration

package provisioners_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature/signaturetest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/runtime"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// dockerArchive is a stand-in for Docker's archive: signed by a key of the test's
// own, with packages of containerd.io's shape in the given versions. It shows
// nothing about Docker's own package.
func dockerArchive(t *testing.T, versions ...string) (uri, keyring string, sums map[string]string) {
	t.Helper()
	dir := t.TempDir()
	sums = map[string]string{}
	var packages bytes.Buffer
	debs := map[string][]byte{}
	for _, version := range versions {
		tree := filepath.Join(dir, version)
		for name, content := range map[string]string{
			"DEBIAN/control":   "Package: containerd.io\nVersion: " + version + "\nArchitecture: amd64\nMaintainer: Nobody <nobody@example.org>\nProvides: containerd, runc\nConflicts: containerd, runc\nReplaces: containerd, runc\nDescription: stand-in\n",
			"DEBIAN/conffiles": "/etc/containerd/config.toml\n", "etc/containerd/config.toml": "disabled_plugins = [\"cri\"]\n",
			"usr/bin/containerd": "#!/bin/sh\n# " + version + "\n", "usr/bin/containerd-shim-runc-v2": "#!/bin/sh\n", "usr/bin/ctr": "#!/bin/sh\n", "usr/bin/runc": "#!/bin/sh\n",
			"usr/lib/systemd/system/containerd.service": "[Service]\nExecStart=/usr/bin/containerd\n",
		} {
			file := filepath.Join(tree, name)
			must(t, os.MkdirAll(filepath.Dir(file), 0o755))
			must(t, os.WriteFile(file, []byte(content), 0o755))
		}
		must(t, os.Chmod(filepath.Join(tree, "DEBIAN/control"), 0o644))
		must(t, os.Chmod(filepath.Join(tree, "DEBIAN/conffiles"), 0o644))
		deb := filepath.Join(dir, version+".deb")
		output(t, "dpkg-deb", "--root-owner-group", "--build", tree, deb)
		data, err := os.ReadFile(deb)
		must(t, err)
		sum := sha256.Sum256(data)
		sums[version] = hex.EncodeToString(sum[:])
		path := "dists/noble/pool/stable/amd64/containerd.io_" + version + "_amd64.deb"
		debs["/"+path] = data
		control, err := os.ReadFile(filepath.Join(tree, "DEBIAN/control"))
		must(t, err)
		fmt.Fprintf(&packages, "%sFilename: %s\nSize: %d\nSHA256: %s\n\n", control, path, len(data), sums[version])
	}
	index := sha256.Sum256(packages.Bytes())
	release := fmt.Sprintf("Origin: Stand-in\nSuite: noble\nCodename: noble\nDate: %s\nArchitectures: amd64\nComponents: stable\nSHA256:\n %s %d stable/binary-amd64/Packages\n",
		time.Now().UTC().Add(-time.Minute).Format("Mon, 02 Jan 2006 15:04:05 UTC"), hex.EncodeToString(index[:]), packages.Len())
	key, err := signaturetest.NewKey("Stand-in for Docker", "stand-in@example.org", time.Now().Add(-time.Hour), 0)
	must(t, err)
	signed, err := key.Clearsign([]byte(release), time.Now().Add(-time.Minute))
	must(t, err)
	ring, err := key.Keyring(true)
	must(t, err)
	keyring = filepath.Join(dir, "docker.asc")
	must(t, os.WriteFile(keyring, ring, 0o644))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch name := strings.ReplaceAll(r.URL.Path, "%7e", "~"); {
		case name == "/dists/noble/InRelease":
			_, _ = w.Write(signed)
		case name == "/dists/noble/stable/binary-amd64/Packages":
			_, _ = w.Write(packages.Bytes())
		case debs[name] != nil:
			_, _ = w.Write(debs[name])
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL, keyring, sums
}

// onDocker is the Docker flavour with that archive alone.
func onDocker(t *testing.T, uri, keyring, version, sum string) *profiles.Profile {
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
standIns: [Docker's archive]
`, uri, keyring, version, sum)
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
	uri, keyring, sums := dockerArchive(t, dockerOld, dockerNew)
	p := onDocker(t, uri, keyring, dockerOld, sums[dockerOld])
	built, err := fetchContainerd(t, p)
	must(t, err)
	if len(built.Files) != 1 || built.Files[0].SHA256 != sums[dockerOld] || built.Record.Version != dockerOld {
		t.Fatalf("got %+v, expected the one package of %s", built, dockerOld)
	}
	root := t.TempDir()
	for _, name := range []string{"info", "updates"} {
		must(t, os.MkdirAll(filepath.Join(root, "var/lib/dpkg", name), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644))
	output(t, "dpkg", "--root="+root, "--log=/dev/null", "--force-not-root", "--install", built.Files[0].Path)
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
	uri, keyring, sums := dockerArchive(t, dockerOld)
	_, other, _ := dockerArchive(t, dockerOld)
	for name, tt := range map[string]struct {
		keyring, version, sum string
		want                  []string
	}{
		"another sum":           {keyring, dockerOld, strings.Repeat("0", 64), []string{"package containerd.io " + dockerOld + " has sha256 " + sums[dockerOld], "expected " + strings.Repeat("0", 64) + ", which the profile pins"}},
		"a version that is not": {keyring, "2.3.5-1", sums[dockerOld], []string{"containerd.io", "2.3.5-1"}},
		"another key":           {other, dockerOld, sums[dockerOld], []string{"NO_PUBKEY"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := fetchContainerd(t, onDocker(t, uri, tt.keyring, tt.version, tt.sum))
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
