package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

func TestCheckStoreNamesAllThatIsMissing(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	deb := func(name string) lock.Package {
		sum := sha256.Sum256([]byte(name))
		return lock.Package{Name: name, Version: "1-1", SHA256: hex.EncodeToString(sum[:])}
	}
	l := &lock.Lock{Content: lock.Content{
		Packages: []lock.Package{deb("libc6"), deb("bash")},
		Components: []lock.Component{
			{Name: "runc", Version: "1.5.2"}, {Name: "base", Packages: []lock.Package{deb("ipset")}}, {Name: "own", Sum: "sha256:5"},
		},
	}}
	missing := []string{"package libc6 1-1", "package bash 1-1", "package ipset 1-1", "component runc 1.5.2", "component own sha256:5"}
	want := func(missing []string, add func()) {
		t.Helper()
		err := checkStore(s, l)
		if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "nodeimage bundle import") || !strings.Contains(err.Error(), s.Dir()) {
			t.Errorf("got %v, want bad input with the store and what to do", err)
		}
		for _, m := range missing {
			if !strings.Contains(err.Error(), m) {
				t.Errorf("%s is not named: %v", m, err)
			}
		}
		if n := strings.Count(err.Error(), "package ") + strings.Count(err.Error(), "component "); n != len(missing) {
			t.Errorf("%d things are named, want %d: %v", n, len(missing), err)
		}
		add()
	}
	want(missing, func() {
		files := map[string]string{}
		for _, p := range l.AllPackages() {
			files[p.SHA256] = filepath.Join(t.TempDir(), p.Name)
			if err := os.WriteFile(files[p.SHA256], []byte(p.Name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.AddBlobs(t.Context(), files); err != nil {
			t.Fatal(err)
		}
	})
	want(missing[3:], func() {
		for _, c := range l.Components {
			key, err := component.LockedKey(c)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Do(t.Context(), key, func(context.Context, string) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
	})
	if err := checkStore(s, l); err != nil {
		t.Errorf("nothing is missing: %v", err)
	}
	l.Base.CloudImage = lock.CloudImage{URL: "https://images.example/20251113/noble.img", SHA256: strings.Repeat("a", 64)}
	if err := checkStore(s, l); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "cloud image https://images.example/20251113/noble.img") {
		t.Errorf("without the cloud image: %v", err)
	}
}
