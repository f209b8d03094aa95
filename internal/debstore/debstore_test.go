package debstore

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

func deb(name, uri string) lock.Package {
	sum := sha256.Sum256([]byte("deb " + name))
	return lock.Package{Name: name, Version: "1+b~1", Arch: "all", SHA256: hex.EncodeToString(sum[:]), Size: len("deb " + name), URI: uri, Path: "pool/" + name + "_1+b~1.deb"}
}

func TestADroppedPackageComesFromTheSnapshot(t *testing.T) {
	t.Parallel()
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		if strings.HasPrefix(r.URL.Path, "/snapshot/") && strings.Contains(r.URL.Path, "/a_1") || strings.Contains(r.URL.Path, "/b_1") {
			name := filepath.Base(r.URL.Path)[:1]
			_, _ = w.Write([]byte("deb " + name))
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(srv.Close)
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := &profiles.Profile{Archive: profiles.Archive{Sources: []profiles.ArchiveSource{{URI: srv.URL + "/debian", SnapshotURI: srv.URL + "/snapshot/{snapshot}"}}}}
	l := &lock.Lock{Content: lock.Content{Releases: []lock.Release{
		{URI: srv.URL + "/debian", Date: "2026-01-31T12:00:00Z"}, {URI: srv.URL + "/debian", Date: "2026-02-01T00:00:00Z"}, {URI: "http://other", Date: "2027-01-01T00:00:00Z"},
	}}}
	client := fetch.New(fetch.Options{Dir: t.TempDir()})
	a, b, c := deb("a", srv.URL+"/debian"), deb("b", srv.URL+"/debian"), deb("c", srv.URL+"/debian")
	if err := Gather(t.Context(), s, From(client, p, l), []lock.Package{a}); err != nil {
		t.Fatal(err)
	}
	want := []string{"/debian/pool/a_1+b~1.deb", "/snapshot/20260201T000000Z/pool/a_1+b~1.deb"}
	if strings.Join(asked, " ") != strings.Join(want, " ") {
		t.Errorf("asked for %v, want %v", asked, want)
	}
	if err := Gather(t.Context(), s, nil, []lock.Package{a}); err != nil {
		t.Errorf("what is there is asked for: %v", err)
	}
	err = Gather(t.Context(), s, From(client, p, l), []lock.Package{b, c})
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "package c") || !strings.Contains(err.Error(), "lock --update") {
		t.Errorf("a package that is nowhere: %v", err)
	}
	if err := Gather(t.Context(), s, nil, []lock.Package{b, c}); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "build once with a network") || !strings.Contains(err.Error(), "c 1+b~1") {
		t.Errorf("offline: %v", err)
	}
}

func TestAFileArchive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := deb("a", "file://"+dir)
	if err := os.MkdirAll(filepath.Join(dir, "pool"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, a.Path), []byte("deb a"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := Gather(t.Context(), s, From(fetch.New(fetch.Options{Dir: t.TempDir()}), &profiles.Profile{}, &lock.Lock{}), []lock.Package{a}); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Blob(a.SHA256); !ok {
		t.Error("it is not in the store")
	}
}
