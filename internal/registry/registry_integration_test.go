//go:build integration

package registry

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/registry/registrytest"
)

func TestRealRegistryAndSkopeo(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	at := registrytest.Start(t)
	img := node(t, 5<<20+17)
	docs := documents(t, img)
	want, err := os.ReadFile(img.Path)
	must(t, err)
	for _, kind := range []Kind{Artifact, ContainerDisk} {
		reference := at + "/team/node:" + string(kind)
		pushed, err := open(t, reference, 1<<20).Push(t.Context(), Publication{Image: img, Kind: kind, Documents: docs})
		must(t, err)
		again, err := open(t, reference, 1<<20).Push(t.Context(), Publication{Image: img, Kind: kind, Documents: docs})
		must(t, err)
		if diff := cmp.Diff(pushed, again); diff != "" {
			t.Errorf("the second push differs:\n%s", diff)
		}
		m, dir := registrytest.Fetch(t, reference)
		blob := filepath.Join(dir, m.Layers[0].Digest.Encoded())
		switch kind {
		case Artifact:
			if got, err := os.ReadFile(blob); err != nil || string(got) != string(want) || m.Layers[0].Digest.Encoded() != img.SHA256 {
				t.Errorf("skopeo got another disk: %v", err)
			}
		case ContainerDisk:
			f, err := os.Open(blob)
			must(t, err)
			defer f.Close()
			tr := tar.NewReader(f)
			_, err = tr.Next()
			must(t, err)
			h, err := tr.Next()
			must(t, err)
			if got, err := io.ReadAll(tr); err != nil || string(got) != string(want) || h.Name != "disk/node.qcow2" || h.Uid != 107 || h.Gid != 107 {
				t.Errorf("skopeo got %s of %d:%d with %d bytes, %v", h.Name, h.Uid, h.Gid, len(got), err)
			}
			var seen struct{ Architecture, Os, Digest string }
			must(t, json.Unmarshal(registrytest.Skopeo(t, "inspect", "--tls-verify=false", "docker://"+reference), &seen))
			if seen.Architecture != "amd64" || seen.Os != "linux" || seen.Digest != pushed.Digest {
				t.Errorf("skopeo sees %+v", seen)
			}
		}
		referrers := registrytest.Referrers(t, at+"/team/node", pushed.Digest)
		types := map[string]bool{}
		for _, d := range referrers {
			types[d.ArtifactType] = true
		}
		if len(referrers) != 4 || !types[TypeBundle] || !types[TypeSBOM] || !types[TypeReport] || !types[TypeVerdict] {
			t.Errorf("referrers: %+v", referrers)
		}
		pulled, err := open(t, pushed.Name, 0).Pull(t.Context(), t.TempDir())
		must(t, err)
		if got, err := os.ReadFile(pulled.Image); err != nil || string(got) != string(want) {
			t.Errorf("pulled another image: %v", err)
		}
		if n := len(files(t, pulled.Path)); kind == Artifact && n != len(pulledFiles()) {
			t.Errorf("pulled %d files", n)
		}
	}
}

// counting counts what is sent and cuts a connection after some of it.
type counting struct {
	http.RoundTripper
	mu     sync.Mutex
	chunks int
	then   func(chunk int)
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPatch {
		return c.RoundTripper.RoundTrip(r)
	}
	c.mu.Lock()
	c.chunks++
	n := c.chunks
	c.mu.Unlock()
	response, err := c.RoundTripper.RoundTrip(r)
	if c.then != nil {
		c.then(n)
	}
	return response, err
}

func TestInterruptedPushGoesOnAtARealRegistry(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	reference := registrytest.Start(t) + "/team/node:v1"
	img := node(t, 5<<20)
	state := t.TempDir()
	push := func(ctx context.Context, then func(int)) (int, error) {
		r, err := Open(reference, Options{State: state, Chunk: 1 << 20, Logf: t.Logf})
		must(t, err)
		c := &counting{RoundTripper: r.raw.Client.Transport, then: then}
		r.raw.Client = &http.Client{Transport: c}
		_, err = r.Push(ctx, Publication{Image: img, Kind: Artifact})
		return c.chunks, err
	}
	ctx, cancel := context.WithCancel(t.Context())
	sent, err := push(ctx, func(chunk int) {
		if chunk == 2 {
			cancel()
		}
	})
	if exitcode.Of(err) != exitcode.Infrastructure || sent != 2 {
		t.Fatalf("got %v after %d chunks, want an interrupt after 2", err, sent)
	}
	if sent, err = push(t.Context(), nil); err != nil || sent != 3 {
		t.Fatalf("the second run sent %d chunks, %v; want the 3 that were missing", sent, err)
	}
	m, dir := registrytest.Fetch(t, reference)
	if info, err := os.Stat(filepath.Join(dir, m.Layers[0].Digest.Encoded())); err != nil || info.Size() != img.Size {
		t.Errorf("skopeo got %v, %v", info, err)
	}
}

func TestInterruptedPullGoesOnAtARealRegistry(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	reference := registrytest.Start(t) + "/team/node:v1"
	img := node(t, 60<<20)
	_, err := open(t, reference, 0).Push(t.Context(), Publication{Image: img, Kind: Artifact})
	must(t, err)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	r := open(t, reference, 0)
	first := &seen{}
	first.at = func(done, total int64) {
		if done > 20<<20 {
			cancel()
		}
	}
	r.Progress = first
	if _, err := r.Pull(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want an interrupt", err)
	}
	if rest, _ := os.ReadDir(dir); len(rest) != 1 || rest[0].Name() != partsDir {
		t.Errorf("left: %v, want the parts alone", rest)
	}
	r = open(t, reference, 0)
	second := &seen{}
	second.at = func(done, _ int64) { second.first.CompareAndSwap(0, done) }
	r.Progress = second
	pulled, err := r.Pull(t.Context(), dir)
	must(t, err)
	if second.first.Load() < 20<<20 {
		t.Errorf("the second run began at %d bytes, want to go on after %d", second.first.Load(), 20<<20)
	}
	if pulled.SHA256 != img.SHA256 {
		t.Errorf("pulled %s", pulled.SHA256)
	}
	if rest, _ := os.ReadDir(dir); len(rest) != 1 {
		t.Errorf("left beside the folder: %v", rest)
	}
}

// seen watches progress.
type seen struct {
	at    func(done, total int64)
	first atomic.Int64
}

func (s *seen) Start(string, int64) fetch.Transfer { return s }
func (s *seen) At(done, total int64)               { s.at(done, total) }
func (s *seen) End()                               {}
