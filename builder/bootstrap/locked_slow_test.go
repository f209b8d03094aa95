//go:build integration && slow

package bootstrap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// TestALockedBaseNeedsNoArchive makes a small system from the archive, then the
// same one from the lock, with an archive that does not exist and commands that
// run where there is no network.
func TestALockedBaseNeedsNoArchive(t *testing.T) {
	const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := &profiles.Profile{
		OS:       profiles.OS{Distribution: "debian", Version: "13", Codename: "trixie", Arch: "amd64"},
		Archive:  profiles.Archive{Keyring: keyring, Sources: []profiles.ArchiveSource{{URI: "http://deb.debian.org/debian", Suites: []string{"trixie"}, Components: []string{"main"}}}},
		Packages: profiles.Packages{Variant: "essential"},
	}
	base, err := Maker{Host: run.Host{}, Store: s}.Make(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	for _, deb := range base.Record.Packages {
		if _, ok := s.Blob(deb.SHA256); !ok {
			t.Errorf("%s %s is not in the store", deb.Name, deb.Version)
		}
		if deb.URI != p.Archive.Sources[0].URI || deb.Size == 0 || deb.Path == "" {
			t.Errorf("nobody could fetch this again: %+v", deb)
		}
	}
	if len(base.Record.Releases) != 1 || len(base.Record.Releases[0].Signer) < 40 || base.Record.Releases[0].Date == "" {
		t.Errorf("releases %+v", base.Record.Releases)
	}

	p.Archive.Sources[0].URI = "http://archive.invalid/debian"
	l := &lock.Lock{Content: lock.Content{Packages: base.Record.Packages, Releases: base.Record.Releases}}
	again, err := Maker{Host: cutOff{}, Store: s, Lock: l}.Make(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(base.Record, again.Record); diff != "" {
		t.Errorf("the locked base is another one (-archive +lock):\n%s", diff)
	}
	if a, b := sumOfFile(t, base.Tar), sumOfFile(t, again.Tar); a != b {
		t.Logf("the tars differ: %s, %s", a, b) // times; what makes them equal is not the lock's part
	}

	// A package more than the lock has cannot be had.
	p.Packages.Include = map[string][]string{"x": {"less"}}
	if _, err := (Maker{Host: cutOff{}, Store: s, Lock: l}).Make(t.Context(), p); err == nil {
		t.Error("a package that is not in the lock was installed")
	} else {
		t.Log(err)
	}
}

// cutOff runs commands in a network namespace that has not even a loopback device.
type cutOff struct{ run.Host }

func (c cutOff) Run(ctx context.Context, cmd run.Cmd) (run.Result, error) {
	cmd.Argv = append([]string{"unshare", "--net", "--"}, cmd.Argv...)
	return c.Host.Run(ctx, cmd)
}

func sumOfFile(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
