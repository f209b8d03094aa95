package bootstrap

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature/signaturetest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// docker is a profile with another archive beside the distribution's, and a
// package of it that is pinned.
func docker(signer string) *profiles.Profile {
	return &profiles.Profile{
		OS: profiles.OS{Arch: "amd64"},
		Archive: profiles.Archive{Keyring: "/own.gpg", Sources: []profiles.ArchiveSource{
			{URI: "http://ubuntu.example", Suites: []string{"noble"}},
			{URI: "http://docker.example", Suites: []string{"noble"}, Keyring: "/docker.asc", Signer: signer},
		}},
		Components: map[string]profiles.Component{
			"containerd": {Version: "2.3.6-1", Source: profiles.SourceDeb, Packages: []string{"containerd.io"}, SHA256: map[string]string{"amd64": "aa", "arm64": "bb"}},
		},
	}
}

func TestCheckPins(t *testing.T) {
	t.Parallel()
	good := Record{
		Releases: []lock.Release{{URI: "http://ubuntu.example", Suite: "noble", Signer: "UBUNTU"}, {URI: "http://docker.example", Suite: "noble", Signer: "DOCKER"}},
		Packages: []lock.Package{{Name: "containerd.io", Version: "2.3.6-1", SHA256: "aa", URI: "http://docker.example"}, {Name: "bash", SHA256: "cc"}},
	}
	if err := checkPins(docker("DOCKER"), good); err != nil {
		t.Errorf("refused: %v", err)
	}
	bad := Record{
		Releases: []lock.Release{{URI: "http://docker.example", Suite: "noble", Signer: "OTHER"}},
		Packages: []lock.Package{{Name: "containerd.io", Version: "2.3.6-1", SHA256: "bb", URI: "http://docker.example"}},
	}
	err := checkPins(docker("DOCKER"), bad)
	for _, want := range []string{
		`suite noble of the archive http://docker.example is signed by "OTHER", expected DOCKER`,
		"package containerd.io 2.3.6-1 has sha256 bb in the archive http://docker.example, expected aa",
	} {
		if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said in: %v", want, err)
		}
	}
}

func TestAKeyringNeedsTheSigner(t *testing.T) {
	t.Parallel()
	key, err := signaturetest.NewKey("Docker", "docker@example.org", time.Now().Add(-time.Hour), 0)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := key.Keyring(true)
	if err != nil {
		t.Fatal(err)
	}
	p := docker(strings.Repeat("A", 40))
	p.Archive.Keyring = filepath.Join(t.TempDir(), "own.gpg")
	p.Archive.Sources[1].Keyring = filepath.Join(t.TempDir(), "docker.asc")
	for _, name := range p.Archive.Keyrings() {
		if err := os.WriteFile(name, ring, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err = readKeyrings(p)
	want := "keyring " + p.Archive.Sources[1].Keyring + " of http://docker.example has no key " + strings.Repeat("A", 40) + ", which archive.sources[1].signer names: found "
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, expected %s", err, want)
	}
	_, found, _ := strings.Cut(err.Error(), ": found ")
	p.Archive.Sources[1].Signer, _, _ = strings.Cut(found, ":")
	if sums, err := readKeyrings(p); err != nil || len(sums) != 2 {
		t.Errorf("with the key that is in it: %q, %v", sums, err)
	}
}
