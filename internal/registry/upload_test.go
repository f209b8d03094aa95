package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// uploads is the part of a registry that takes blobs in chunks, as the
// specification says, with faults.
type uploads struct {
	mu      sync.Mutex
	got     map[string][]byte // by upload
	begun   int
	patched int64             // bytes of all chunks that came
	blobs   map[string][]byte // by digest
	cut     func(chunk int) bool
	forget  func(chunk int) bool
	chunk   int
	least   string
}

func (u *uploads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	at := func() {
		w.Header().Set("Location", "/v2/node/blobs/uploads/"+id+"?token=a%2Bb")
		if n := len(u.got[id]); n > 0 {
			w.Header().Set("Range", fmt.Sprintf("0-%d", n-1))
		}
	}
	if _, known := u.got[id]; !known && r.Method != http.MethodPost && r.Method != http.MethodHead {
		http.Error(w, `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"gone"}]}`, http.StatusNotFound)
		return
	}
	switch r.Method {
	case http.MethodHead:
		if data, ok := u.blobs[id]; ok {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			return
		}
		w.WriteHeader(http.StatusNotFound)
	case http.MethodPost:
		u.begun++
		id = fmt.Sprint("upload-", u.begun)
		u.got[id] = []byte{}
		w.Header().Set("OCI-Chunk-Min-Length", u.least)
		at()
		w.WriteHeader(http.StatusAccepted)
	case http.MethodGet:
		at()
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPatch:
		u.chunk++
		var first, last int
		_, _ = fmt.Sscanf(r.Header.Get("Content-Range"), "%d-%d", &first, &last)
		if first != len(u.got[id]) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		body := io.Reader(r.Body)
		cut := u.cut != nil && u.cut(u.chunk)
		if cut {
			body = io.LimitReader(body, r.ContentLength/2)
		}
		data, _ := io.ReadAll(body)
		u.patched += int64(len(data))
		u.got[id] = append(u.got[id], data...)
		if u.forget != nil && u.forget(u.chunk) {
			delete(u.got, id)
		}
		if cut {
			panic(http.ErrAbortHandler)
		}
		at()
		w.WriteHeader(http.StatusAccepted)
	case http.MethodPut:
		want := r.URL.Query().Get("digest")
		if r.URL.Query().Get("token") != "a+b" || digest.FromBytes(u.got[id]).String() != want {
			http.Error(w, `{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content"}]}`, http.StatusBadRequest)
			return
		}
		u.blobs[want] = u.got[id]
		w.Header().Set("Docker-Content-Digest", want)
		w.WriteHeader(http.StatusCreated)
	}
}

func newUploads(t *testing.T) (*uploads, *Repository) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	u := &uploads{got: map[string][]byte{}, blobs: map[string][]byte{}}
	s := httptest.NewServer(u)
	t.Cleanup(s.Close)
	r := open(t, strings.TrimPrefix(s.URL, "http://")+"/node:v1", 1000)
	r.sleep = func(context.Context, time.Duration) error { return nil }
	return u, r
}

func blobOf(size int) ([]byte, ocispec.Descriptor) {
	data := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
	return data, ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(size)}
}

func TestChunks(t *testing.T) {
	for size, chunks := range map[int]int{1: 1, 999: 1, 1000: 1, 1001: 2, 5500: 6} {
		u, r := newUploads(t)
		data, blob := blobOf(size)
		must(t, r.send(t.Context(), "node", blob, bytes.NewReader(data)))
		if !bytes.Equal(u.blobs[blob.Digest.String()], data) || u.chunk != chunks {
			t.Errorf("%d bytes came in %d chunks, want %d", size, u.chunk, chunks)
		}
		must(t, r.send(t.Context(), "node", blob, bytes.NewReader(data)))
		if u.begun != 1 {
			t.Errorf("what was there was sent again")
		}
	}
	u, r := newUploads(t)
	u.least = "2000"
	data, blob := blobOf(5500)
	must(t, r.send(t.Context(), "node", blob, bytes.NewReader(data)))
	if u.chunk != 3 {
		t.Errorf("%d chunks, want 3 of the size that the registry asks for", u.chunk)
	}
}

// What had come of a chunk that was cut off is not sent again.
func TestCutChunkGoesOn(t *testing.T) {
	u, r := newUploads(t)
	u.cut = func(chunk int) bool { return chunk%2 == 0 }
	data, blob := blobOf(5500)
	must(t, r.send(t.Context(), "node", blob, bytes.NewReader(data)))
	if !bytes.Equal(u.blobs[blob.Digest.String()], data) || u.patched != 5500 || u.begun != 1 {
		t.Errorf("%d bytes came in %d uploads, want each of 5500 once", u.patched, u.begun)
	}
}

func TestAnotherRunGoesOn(t *testing.T) {
	u, r := newUploads(t)
	data, blob := blobOf(5500)
	ctx, cancel := context.WithCancel(t.Context())
	u.cut = func(chunk int) bool {
		if chunk == 3 {
			cancel()
		}
		return false
	}
	if err := r.send(ctx, "node", blob, bytes.NewReader(data)); exitcode.Of(err) != exitcode.Infrastructure {
		t.Fatalf("got %v, want an interrupt", err)
	}
	if u.patched != 3000 {
		t.Errorf("%d bytes came, want the chunk that was under way whole", u.patched)
	}
	must(t, r.send(t.Context(), "node", blob, bytes.NewReader(data)))
	if u.patched != 5500 || u.begun != 1 {
		t.Errorf("%d bytes came in %d uploads, want each of 5500 once", u.patched, u.begun)
	}
}

// The file became another between two runs.
func TestPartsOfTwoFiles(t *testing.T) {
	u, r := newUploads(t)
	data, blob := blobOf(5500)
	ctx, cancel := context.WithCancel(t.Context())
	u.cut = func(chunk int) bool {
		if chunk == 3 {
			cancel()
		}
		return false
	}
	if err := r.send(ctx, "node", blob, strings.NewReader(strings.Repeat("x", 5500))); err == nil {
		t.Fatal("not interrupted")
	}
	must(t, r.send(t.Context(), "node", blob, bytes.NewReader(data)))
	if !bytes.Equal(u.blobs[blob.Digest.String()], data) || u.begun != 2 {
		t.Errorf("%d uploads, want a second one from the start", u.begun)
	}
}

func TestContentThatIsNotTheBlob(t *testing.T) {
	u, r := newUploads(t)
	_, blob := blobOf(5500)
	err := r.send(t.Context(), "node", blob, strings.NewReader(strings.Repeat("x", 5500)))
	if exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(err.Error(), "another digest") || len(u.blobs) != 0 {
		t.Errorf("got %v", err)
	}
}

func TestForgottenUploads(t *testing.T) {
	u, r := newUploads(t)
	data, blob := blobOf(5500)
	u.forget = func(chunk int) bool { return chunk == 2 }
	must(t, r.send(t.Context(), "node", blob, bytes.NewReader(data)))
	if u.begun != 2 {
		t.Errorf("%d uploads, want 2", u.begun)
	}
	u, r = newUploads(t)
	u.forget = func(int) bool { return true }
	if err := r.send(t.Context(), "node", blob, bytes.NewReader(data)); err == nil || u.begun > restarts+1 {
		t.Errorf("a registry that forgets all: %v after %d uploads", err, u.begun)
	}
}

func TestFaultsEnd(t *testing.T) {
	for _, status := range []int{500, 429, 413, 403} {
		t.Setenv("DOCKER_CONFIG", t.TempDir())
		asked := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.Method {
			case http.MethodHead:
				w.WriteHeader(http.StatusNotFound)
			case http.MethodPost, http.MethodGet:
				w.Header().Set("Location", "/v2/node/blobs/uploads/1")
				w.WriteHeader(map[string]int{http.MethodPost: 202, http.MethodGet: 204}[r.Method])
			default:
				asked++
				w.WriteHeader(status)
			}
		}))
		t.Cleanup(s.Close)
		r := open(t, strings.TrimPrefix(s.URL, "http://")+"/node:v1", 1000)
		r.sleep = func(context.Context, time.Duration) error { return nil }
		data, blob := blobOf(5500)
		err := r.send(t.Context(), "node", blob, bytes.NewReader(data))
		want, times := exitcode.Infrastructure, tries
		if status == 413 || status == 403 {
			want, times = exitcode.Usage, 1
		}
		if exitcode.Of(err) != want || asked != times {
			t.Errorf("%d: %v after %d chunks, want exit code %d after %d", status, err, asked, want, times)
		}
	}
}

// A registry spoken to in https must not send the blob elsewhere in http.
func TestNoDowngrade(t *testing.T) {
	u := &upload{Repository: &Repository{}}
	response := &http.Response{Header: http.Header{"Location": {"http://elsewhere.example/x"}}, Request: httptest.NewRequest(http.MethodPost, "https://registry.example/v2/", nil)}
	if err := u.moved(response); err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("got %v", err)
	}
}
