package registry

import (
	"context"
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	memory "github.com/google/go-containerregistry/pkg/registry"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/programtest"
)

// server is a registry in memory, by its address.
func server(t *testing.T, referrers bool, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	h := memory.New(memory.Logger(log.New(io.Discard, "", 0)), memory.WithReferrersSupport(referrers))
	if wrap != nil {
		h = wrap(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestThereAndBack(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	for _, referrers := range []bool{true, false} {
		for _, kind := range []Kind{Artifact, ContainerDisk} {
			img := node(t, 300_001)
			at := server(t, referrers, nil) + "/team/node:v1"
			p := Publication{Image: img, Kind: kind, Documents: documents(t, img)}
			pushed, err := open(t, at, 100_000).Push(t.Context(), p)
			must(t, err)
			again, err := open(t, at, 100_000).Push(t.Context(), p)
			must(t, err)
			if diff := cmp.Diff(pushed, again); diff != "" || len(pushed.Referrers) != 4 {
				t.Errorf("the second push differs (-first +second):\n%s", diff)
			}
			for _, reference := range []string{at, pushed.Name} {
				dir := t.TempDir()
				pulled, err := open(t, reference, 0).Pull(t.Context(), dir)
				must(t, err)
				if pulled.SHA256 != img.SHA256 || pulled.Kind != kind {
					t.Errorf("pulled %+v", pulled)
				}
				want := pulledFiles()
				if kind == ContainerDisk {
					want = append(want[:3], want[4:]...) // it has no place for the manifest
				}
				if diff := cmp.Diff(want, files(t, pulled.Path)); diff != "" {
					t.Errorf("%s, referrers API %v: files (-want +got):\n%s", kind, referrers, diff)
				}
				if rest, _ := os.ReadDir(dir); len(rest) != 1 {
					t.Errorf("left beside the folder: %v", rest)
				}
				if again, err := open(t, reference, 0).Pull(t.Context(), dir); err != nil || !again.Already {
					t.Errorf("a second pull: %+v, %v", again, err)
				}
				must(t, os.WriteFile(pulled.Image, []byte("damaged"), 0o644))
				if _, err := open(t, reference, 0).Pull(t.Context(), dir); exitcode.Of(err) != exitcode.Usage {
					t.Errorf("a damaged image was taken for the right one: %v", err)
				}
			}
		}
	}
}

// The tag is the last thing: whatever fails before leaves it where it was.
func TestNoTagAfterAFailure(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	img := node(t, 5000)
	broken := false
	at := server(t, true, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if broken && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256:") {
				http.Error(w, "no", http.StatusForbidden)
				return
			}
			h.ServeHTTP(w, r)
		})
	}) + "/team/node:v1"
	first, err := open(t, at, 0).Push(t.Context(), Publication{Image: img, Kind: Artifact})
	must(t, err)
	broken = true
	other := node(t, 6000)
	if _, err := open(t, at, 0).Push(t.Context(), Publication{Image: other, Kind: Artifact}); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "may not do that") {
		t.Errorf("got %v, want a refusal as bad input", err)
	}
	if p, err := open(t, at, 0).Pull(t.Context(), t.TempDir()); err != nil || p.SHA256 != img.SHA256 || !strings.HasSuffix(p.Name, first.Digest) {
		t.Errorf("the tag leads to %+v, %v", p, err)
	}
}

func TestCredentialsOfDocker(t *testing.T) {
	img := node(t, 5000)
	at := server(t, true, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, password, _ := r.BasicAuth(); password != "secret" {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	config := t.TempDir()
	t.Setenv("DOCKER_CONFIG", config)
	p := Publication{Image: img, Kind: Artifact}
	if _, err := open(t, at+"/team/node:v1", 0).Push(t.Context(), p); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "docker login") {
		t.Errorf("without credentials: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(config, "config.json"), []byte(`{"auths":{"`+at+`":{"auth":"`+base64.StdEncoding.EncodeToString([]byte("me:secret"))+`"}}}`), 0o600))
	_, err := open(t, at+"/team/node:v1", 1000).Push(t.Context(), p)
	must(t, err)
	_, err = open(t, at+"/team/node:v1", 0).Pull(t.Context(), t.TempDir())
	must(t, err)
	// A helper's answer is as good.
	must(t, programtest.WriteFile(filepath.Join(config, "docker-credential-mine"), []byte("#!/bin/sh\ncat >/dev/null\necho '{\"Username\":\"me\",\"Secret\":\"secret\"}'\n")))
	t.Setenv("PATH", config+":"+os.Getenv("PATH"))
	must(t, os.WriteFile(filepath.Join(config, "config.json"), []byte(`{"credHelpers":{"`+at+`":"mine"}}`), 0o600))
	_, err = open(t, at+"/team/node:v1", 0).Pull(t.Context(), t.TempDir())
	must(t, err)
}

func TestProxyIsUsed(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	registry := memory.New(memory.Logger(log.New(io.Discard, "", 0)))
	asked := ""
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Host // a proxy is asked for whole URLs
		registry.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	t.Setenv("NO_PROXY", "")
	t.Setenv("no_proxy", "")
	r, err := Open("registry.invalid:5000/team/node:v1", Options{State: t.TempDir(), PlainHTTP: true})
	must(t, err)
	_, err = r.Push(t.Context(), Publication{Image: node(t, 5000), Kind: Artifact})
	must(t, err)
	if asked != "registry.invalid:5000" {
		t.Errorf("the proxy was asked for %q", asked)
	}
}

func TestBadReferencesAreRefused(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	for _, bad := range []string{"", "node", "localhost:5000/node", "localhost:5000/Node:v1", "localhost:5000/node@sha256:12", "http://localhost/node:v1"} {
		if _, err := Open(bad, Options{}); exitcode.Of(err) != exitcode.Usage {
			t.Errorf("%q: %v, want bad input", bad, err)
		}
	}
	r := open(t, "localhost:5000/node@sha256:"+strings.Repeat("0", 64), 0)
	if _, err := r.Push(t.Context(), Publication{Image: node(t, 100), Kind: Artifact}); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a push to a digest: %v", err)
	}
}

func TestWrongImageIsNotWrapped(t *testing.T) {
	img := node(t, 5000)
	f, err := os.OpenFile(img.Path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("changed"), 1000)
	must(t, err)
	must(t, f.Close())
	if _, _, err := wrap(t.Context(), "node.qcow2", img); err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Errorf("got %v", err)
	}
}

func TestReportsAboutOthersAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "validate.json")
	for text, want := range map[string]string{`{"sha256":"aa"}`: "about the image", `{"sha`: "no whole JSON"} {
		must(t, os.WriteFile(path, []byte(text), 0o644))
		if _, err := Report(path, "bb"); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestInterruptIsTold(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	at := server(t, true, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPatch {
				cancel()
			}
			h.ServeHTTP(w, r)
		})
	}) + "/team/node:v1"
	r := open(t, at, 1000)
	_, err := r.Push(ctx, Publication{Image: node(t, 5000), Kind: Artifact})
	if exitcode.Of(err) != exitcode.Infrastructure {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(r.State); len(left) != 1 {
		t.Errorf("the state was not kept: %v", left)
	}
}
