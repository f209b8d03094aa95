package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/upstreamtest"
)

const address = "https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubelet"

// rig is a client, a stand-in that serves one file, and where it goes to.
type rig struct {
	t       *testing.T
	server  *upstreamtest.Server
	client  *Client
	content []byte
	file    File
	target  string
	mu      sync.Mutex
	lines   []string
	pauses  []time.Duration
}

func newRig(t *testing.T, length int) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, server: upstreamtest.New(dir), content: make([]byte, length), target: filepath.Join(dir, "target")}
	t.Cleanup(r.server.Close)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(r.content) // never fails
	sum, err := r.server.Add(address, r.content)
	if err != nil {
		t.Fatal(err)
	}
	r.file = File{What: "kubelet 1.36.4", URL: address, SHA256: sum}
	r.client = r.newClient(filepath.Join(dir, "downloads"))
	return r
}

// newClient keeps parts in dir and does not sleep.
func (r *rig) newClient(dir string) *Client {
	r.t.Helper()
	mirrors, err := ParseMirrors(r.server.Settings()...)
	if err != nil {
		r.t.Fatal(err)
	}
	c := New(Options{Dir: dir, Mirrors: mirrors, Transport: &http.Transport{}, Logf: func(format string, args ...any) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.lines = append(r.lines, r.anonymous(fmt.Sprintf(format, args...)))
	}})
	c.stall = 30 * time.Second
	c.sleep = func(_ context.Context, d time.Duration) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.pauses = append(r.pauses, d)
		return nil
	}
	return c
}

// anonymous replaces what differs from run to run.
func (r *rig) anonymous(text string) string { return strings.ReplaceAll(text, r.server.URL, "URL") }

func (r *rig) misbehave(fault upstreamtest.Fault) { r.server.Misbehave(address, fault) }

func (r *rig) get() error { return r.client.Get(r.t.Context(), r.file, r.target) }

// wantFile wants the pinned file at its place and no part of it elsewhere.
func (r *rig) wantFile() {
	r.t.Helper()
	got, err := os.ReadFile(r.target)
	if err != nil {
		r.t.Fatal(err)
	}
	if sum := sha256.Sum256(got); hex.EncodeToString(sum[:]) != r.file.SHA256 {
		r.t.Errorf("%d bytes of another file are at the target", len(got))
	}
	r.wantLeft()
}

// wantLeft wants exactly these files among the parts.
func (r *rig) wantLeft(names ...string) {
	r.t.Helper()
	found, err := os.ReadDir(r.client.Dir)
	if err != nil {
		r.t.Fatal(err)
	}
	got := []string{}
	for _, f := range found {
		got = append(got, strings.Replace(f.Name(), r.file.SHA256, "SUM", 1))
	}
	if diff := cmp.Diff(append([]string{}, names...), got); diff != "" {
		r.t.Errorf("parts (-want +got):\n%s", diff)
	}
}

// ranges are the Range headers of all requests.
func (r *rig) ranges() []string {
	var got []string
	for _, request := range r.server.Requests(address) {
		got = append(got, request.Header.Get("Range"))
	}
	return got
}

func TestGet(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1<<20)
	if err := r.get(); err != nil {
		t.Fatal(err)
	}
	r.wantFile()
	request := r.server.Requests(address)[0]
	if got := request.Header.Get("User-Agent"); !strings.HasPrefix(got, "nodeimage/") {
		t.Errorf("User-Agent %q", got)
	}
	if got := request.Header.Get("Accept-Encoding"); got != "identity" {
		t.Errorf("Accept-Encoding %q: another encoding has another sum", got)
	}
	if info, err := os.Stat(r.target); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestCutDownloadResumes(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1<<20)
	r.misbehave(upstreamtest.First(2, upstreamtest.Cut(300<<10)))
	if err := r.get(); err != nil {
		t.Fatal(err)
	}
	r.wantFile()
	if diff := cmp.Diff([]string{"", "bytes=307200-", "bytes=614400-"}, r.ranges()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	for _, request := range r.server.Requests(address)[1:] {
		if got, want := request.Header.Get("If-Range"), `"`+r.file.SHA256[:32]+`"`; got != want {
			t.Errorf("If-Range %q, expected %q", got, want)
		}
	}
	want := "kubelet 1.36.4: the connection was cut off after 307200 bytes of 1.0 MiB; trying again in "
	if len(r.lines) != 2 || !strings.HasPrefix(r.lines[0], want) {
		t.Errorf("said %q, expected %q…", r.lines, want)
	}
}

// What an interrupted run brought is not fetched again, nor read again: the
// hash goes on from its state.
func TestNextRunResumes(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1<<20)
	r.misbehave(upstreamtest.Stall(300 << 10))
	ctx, cancel := context.WithCancel(t.Context())
	r.client.stall = time.Hour
	done := make(chan error)
	go func() { done <- r.client.Get(ctx, r.file, r.target) }()
	part := filepath.Join(r.client.Dir, r.file.SHA256+partSuffix)
	for {
		if info, err := os.Stat(part); err == nil && info.Size() == 300<<10 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	r.wantLeft("SUM.part", "SUM.state")
	// Would the part be read, its first byte would spoil the sum; the file
	// then is fetched once more, from its start.
	f, err := os.OpenFile(part, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{^r.content[0]}, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	r.misbehave(nil)
	if err := r.newClient(r.client.Dir).Get(t.Context(), r.file, r.target); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"", "bytes=307200-"}, r.ranges()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	r.wantLeft()
}

// What came after the last state of a killed run is fetched again.
func TestKilledRunResumes(t *testing.T) {
	t.Parallel()
	r := newRig(t, 20<<20)
	killed := make(chan struct{})
	r.client.stall = time.Hour
	r.misbehave(upstreamtest.Stall(18 << 20))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { defer close(killed); _ = r.client.Get(ctx, r.file, r.target) }()
	part := filepath.Join(r.client.Dir, r.file.SHA256+partSuffix)
	for {
		if info, err := os.Stat(part); err == nil && info.Size() == 18<<20 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	// What lies there now is what a kill leaves: copy it.
	dir := filepath.Join(t.TempDir(), "downloads")
	if err := os.CopyFS(dir, os.DirFS(r.client.Dir)); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-killed
	r.misbehave(nil)
	r.client = r.newClient(dir)
	if err := r.get(); err != nil {
		t.Fatal(err)
	}
	r.wantFile()
	// The state is written at the first piece beyond 16 MiB.
	var from int
	if got := r.ranges(); len(got) != 2 {
		t.Errorf("requests for %q, expected two", got)
	} else if _, err := fmt.Sscanf(got[1], "bytes=%d-", &from); err != nil || from < 16<<20 || from > 17<<20 {
		t.Errorf("requests for %q, expected the second from 16 MiB on", got)
	}
}

func TestServerWithoutRanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1<<20)
	r.misbehave(func(a upstreamtest.Answer) bool {
		if a.N == 1 {
			return upstreamtest.Cut(300 << 10)(a)
		}
		return upstreamtest.NoRanges()(a)
	})
	if err := r.get(); err != nil {
		t.Fatal(err)
	}
	r.wantFile()
}

// Another file at the same address between two parts: If-Range brings the
// whole new one; a server that does not know If-Range is found out by the sum.
func TestPartsOfTwoFiles(t *testing.T) {
	t.Parallel()
	t.Run("other ETag", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, 1<<20)
		r.misbehave(func(a upstreamtest.Answer) bool {
			if a.N == 1 {
				a.Header().Set("ETag", `"old"`)
				return upstreamtest.Cut(300 << 10)(a)
			}
			return false
		})
		if err := r.get(); err != nil {
			t.Fatal(err)
		}
		r.wantFile()
		if n := len(r.server.Requests(address)); n != 2 {
			t.Errorf("%d requests, expected 2", n)
		}
	})
	t.Run("no ETag", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, 1<<20)
		old := make([]byte, 1<<20)
		r.misbehave(func(a upstreamtest.Answer) bool {
			if a.N > 1 {
				return false
			}
			file := filepath.Join(t.TempDir(), "old")
			if err := os.WriteFile(file, old, 0o644); err != nil {
				t.Error(err)
			}
			a.Path = file
			a.Header().Set("ETag", `W/"weak"`)
			return upstreamtest.Cut(300 << 10)(a)
		})
		if err := r.get(); err != nil {
			t.Fatal(err)
		}
		r.wantFile()
		if diff := cmp.Diff([]string{"", "bytes=307200-", ""}, r.ranges()); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	})
}

// The texts are what people get to read.
func TestBadDays(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault    upstreamtest.Fault
		change   func(f *File)
		requests int
		code     int
		left     bool // a part for the next run
		want     string
	}{
		"wrong checksum": {upstreamtest.OtherContent([]byte("something else")), nil, 1, exitcode.Usage, false,
			"sha256 is d5d1edba6b3dd0b2d86e3a6bf5b54b5ffb3b0d7a1ea1aa2e0b9f4dd9ddbc5a2c, expected SUM (14 bytes): nothing of it was kept: compare the pin with what upstream published; if the pin is right, what lies at this address is not what was released, or was changed on the way (check the mirror that is set for dl.k8s.io)"},
		"not there": {upstreamtest.Status(404), nil, 1, exitcode.Usage, false,
			`the server answers "404 Not Found": check the version and the address in the profile, and the mirror that is set for dl.k8s.io`},
		"refused": {upstreamtest.Status(403), nil, 1, exitcode.Usage, false,
			`the server answers "403 Forbidden": check the version and the address in the profile, and the mirror that is set for dl.k8s.io`},
		"captive portal": {upstreamtest.Page("Hotel Wi-Fi &amp; Log-in"), nil, 1, exitcode.Infrastructure, false,
			`found a web page, "Hotel Wi-Fi & Log-in", instead of the file: a captive portal or a proxy answers in place of dl.k8s.io: log in to the network with a browser, or set HTTPS_PROXY, or a mirror with NODEIMAGE_MIRRORS=dl.k8s.io=…`},
		"always cut": {upstreamtest.Cut(0), nil, 5, exitcode.Infrastructure, false,
			"the connection was cut off after 0 bytes of 102400 bytes; gave up after 5 attempts"},
		"cut, then away": {func(a upstreamtest.Answer) bool {
			if a.N == 1 {
				return upstreamtest.Cut(1000)(a)
			}
			return upstreamtest.Status(503)(a)
		}, nil, 5, exitcode.Infrastructure, true,
			`the server answers "503 Service Unavailable"; gave up after 5 attempts; the 1000 bytes that came are kept, and another run goes on from there`},
		"always 503": {upstreamtest.Status(503), nil, 5, exitcode.Infrastructure, false,
			`the server answers "503 Service Unavailable"; gave up after 5 attempts`},
		"asks to wait too long": {upstreamtest.Status(429, "Retry-After", "3600"), nil, 1, exitcode.Infrastructure, false,
			`the server answers "429 Too Many Requests", and asks to wait for 1h0m0s`},
		"redirects in a circle": {upstreamtest.RedirectLoop(), nil, 10, exitcode.Infrastructure, false,
			"the server redirects in a circle: 10 redirects, the last one to URL/dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubelet"},
		"declares more than it has": {upstreamtest.DeclaredSize(200000), nil, 2, exitcode.Infrastructure, false,
			"the server declared 200000 bytes and has no more than 102400 of them"},
		"declares less than it has": {upstreamtest.DeclaredSize(50000), nil, 1, exitcode.Usage, false,
			"sha256 is CUTSUM, expected SUM (50000 bytes): nothing of it was kept: compare the pin with what upstream published; if the pin is right, what lies at this address is not what was released, or was changed on the way (check the mirror that is set for dl.k8s.io)"},
		"declares too much": {upstreamtest.DeclaredSize(200000), func(f *File) { f.Max = 150000 }, 1, exitcode.Infrastructure, false,
			"the server declares 200000 bytes, expected at most 150000"},
		"declares another size than is pinned": {nil, func(f *File) { f.Size = 102401 }, 1, exitcode.Infrastructure, false,
			"the server declares 102400 bytes, expected the 102401 that are pinned"},
		"never ends": {upstreamtest.Endless(10 << 20), func(f *File) { f.Max = 150000 }, 1, exitcode.Infrastructure, false,
			"the server sent more than 150000 bytes, expected at most that"},
		"goes silent": {upstreamtest.Stall(0), nil, 5, exitcode.Infrastructure, false,
			"nothing came for 200ms; gave up after 5 attempts"},
		"another range than asked for": {func(a upstreamtest.Answer) bool {
			if a.N == 1 {
				return upstreamtest.Cut(1000)(a)
			}
			return upstreamtest.Status(206, "Content-Range", "bytes 0-102399/102400")(a)
		}, nil, 2, exitcode.Infrastructure, false,
			`the server was asked for the bytes from 1000 on and answers with Content-Range "bytes 0-102399/102400"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 100<<10)
			r.misbehave(tt.fault)
			if name == "goes silent" {
				r.client.stall = 200 * time.Millisecond
			}
			if tt.change != nil {
				tt.change(&r.file)
			}
			err := r.get()
			if err == nil {
				t.Fatal("no error")
			}
			cut := sha256.Sum256(r.content[:50000])
			other := sha256.Sum256([]byte("something else"))
			want := strings.NewReplacer("expected SUM", "expected "+r.file.SHA256, "CUTSUM", hex.EncodeToString(cut[:]),
				"d5d1edba6b3dd0b2d86e3a6bf5b54b5ffb3b0d7a1ea1aa2e0b9f4dd9ddbc5a2c", hex.EncodeToString(other[:])).Replace(tt.want)
			want = "fetching kubelet 1.36.4 from URL/dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubelet: " + want
			if got := r.anonymous(err.Error()); got != want {
				t.Errorf("found\n%s\nexpected\n%s", got, want)
			}
			if got := exitcode.Of(err); got != tt.code {
				t.Errorf("exit code %d, expected %d", got, tt.code)
			}
			if got := len(r.server.Requests(address)); got != tt.requests {
				t.Errorf("%d requests, expected %d", got, tt.requests)
			}
			if _, err := os.Stat(r.target); err == nil {
				t.Error("there is a target")
			}
			if tt.left {
				r.wantLeft("SUM.part", "SUM.state")
			} else {
				r.wantLeft()
			}
		})
	}
}

func TestWaitsAsAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t, 100)
	r.misbehave(func(a upstreamtest.Answer) bool {
		switch a.N {
		case 1:
			return upstreamtest.Status(429, "Retry-After", "7")(a)
		case 2:
			return upstreamtest.Status(503, "Retry-After", time.Now().Add(90*time.Second).UTC().Format(http.TimeFormat))(a)
		case 3:
			return upstreamtest.Reset()(a)
		case 4:
			return upstreamtest.Status(502)(a)
		}
		return false
	})
	if err := r.get(); err != nil {
		t.Fatal(err)
	}
	r.wantFile()
	if len(r.pauses) != 4 {
		t.Fatalf("pauses %v, expected four", r.pauses)
	}
	for i, want := range [][2]time.Duration{{7 * time.Second, 7 * time.Second}, {80 * time.Second, 90 * time.Second}, {2 * time.Second, 6 * time.Second}, {4 * time.Second, 12 * time.Second}} {
		if r.pauses[i] < want[0] || r.pauses[i] > want[1] {
			t.Errorf("pause %d is %s, expected between %s and %s", i, r.pauses[i], want[0], want[1])
		}
	}
}

// A slow server that keeps sending is not one that went silent.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	r := newRig(t, 40<<10)
	r.client.stall = 400 * time.Millisecond
	r.misbehave(upstreamtest.Slow(4<<10, 50*time.Millisecond))
	if err := r.get(); err != nil {
		t.Fatal(err)
	}
	r.wantFile()
	if n := len(r.server.Requests(address)); n != 1 {
		t.Errorf("%d requests, expected one", n)
	}
}

func TestRedirectFollowed(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1<<20)
	const there = "https://objects.example.org/kubelet"
	if _, err := r.server.Add(there, r.content); err != nil {
		t.Fatal(err)
	}
	r.misbehave(upstreamtest.Redirect("/objects.example.org/kubelet"))
	r.server.Misbehave(there, upstreamtest.First(1, upstreamtest.Cut(1000)))
	if err := r.get(); err != nil {
		t.Fatal(err)
	}
	r.wantFile()
	if got := r.server.Requests(there)[1].Header.Get("Range"); got != "bytes=1000-" {
		t.Errorf("Range %q behind the redirect", got)
	}
}

// Two runs that want one file at a time get it both, whole.
func TestTwoRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1<<20)
	r.misbehave(upstreamtest.Slow(256<<10, 10*time.Millisecond))
	other := r.newClient(r.client.Dir)
	var wait sync.WaitGroup
	for i, c := range []*Client{r.client, other, r.client} {
		wait.Go(func() {
			target := fmt.Sprintf("%s-%d", r.target, i)
			if err := c.Get(t.Context(), r.file, target); err != nil {
				t.Error(err)
			}
			if info, err := os.Stat(target); err != nil || info.Size() != 1<<20 {
				t.Errorf("target %d: %v, %v", i, info, err)
			}
		})
	}
	wait.Wait()
	r.wantLeft()
}

func TestAtMostFourAtATime(t *testing.T) {
	t.Parallel()
	r := newRig(t, 10)
	var mu sync.Mutex
	now, most := 0, 0
	r.misbehave(func(upstreamtest.Answer) bool {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		time.Sleep(20 * time.Millisecond)
		mu.Lock()
		now--
		mu.Unlock()
		return false
	})
	var wait sync.WaitGroup
	for i := range 12 {
		file := r.file
		content := fmt.Appendf(nil, "file %d", i)
		sum := sha256.Sum256(content)
		file.SHA256, file.URL = hex.EncodeToString(sum[:]), fmt.Sprintf("%s-%d", address, i)
		if _, err := r.server.Add(file.URL, content); err != nil {
			t.Fatal(err)
		}
		r.server.Misbehave(file.URL, r.server.Fault(address))
		wait.Go(func() {
			if err := r.client.Get(t.Context(), file, fmt.Sprintf("%s-%d", r.target, i)); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if most < 2 || most > parallel {
		t.Errorf("%d at a time, expected some and at most %d", most, parallel)
	}
}

// Parts that nobody went on with for a week are removed.
func TestOldPartsAreSwept(t *testing.T) {
	t.Parallel()
	r := newRig(t, 10)
	if err := os.MkdirAll(r.client.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	old, young := filepath.Join(r.client.Dir, "old"), filepath.Join(r.client.Dir, "young")
	for _, path := range []string{old + partSuffix, old + stateSuffix, young + partSuffix} {
		if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	week := time.Now().Add(-keepParts - time.Hour)
	if err := os.Chtimes(old+partSuffix, week, week); err != nil {
		t.Fatal(err)
	}
	if err := r.get(); err != nil {
		t.Fatal(err)
	}
	r.wantLeft("young.part")
}

func TestRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1000)
	r.misbehave(upstreamtest.First(1, upstreamtest.Cut(300)))
	got, err := r.client.Read(t.Context(), "signature of kubelet", address, 2000)
	if err != nil || string(got) != string(r.content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	r.misbehave(nil)
	_, err = r.client.Read(t.Context(), "signature of kubelet", address, 999)
	want := "fetching signature of kubelet from URL/dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubelet: the server declares 1000 bytes, expected at most 999"
	if err == nil || r.anonymous(err.Error()) != want {
		t.Errorf("found\n%v\nexpected\n%s", err, want)
	}
	r.wantLeft()
}
