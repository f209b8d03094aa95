package component

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// versionsFrom asks a proxy alone, whatever this host is configured for.
func versionsFrom(t *testing.T, proxy string) *ModuleVersions {
	t.Helper()
	l := &ModuleVersions{}
	tools, err := l.toolchain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tools.fetch["GOPROXY"], tools.fetch["GONOPROXY"], tools.fetch["GOPRIVATE"] = proxy, "", ""
	tools.fetch["GOMODCACHE"] = filepath.Join(t.TempDir(), "modules")
	return l
}

// serveVersions is a proxy in a directory. The newest release needs a Go that is
// not there yet and takes one back.
func serveVersions(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	versions := filepath.Join(dir, fakeModule, "@v")
	if err := os.MkdirAll(versions, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"list":        "v1.0.0\nv1.3.0\nv1.2.0-rc.1\nv1.1.0\n",
		"v1.3.0.info": `{"Version":"v1.3.0"}`,
		"v1.3.0.mod":  "module " + fakeModule + "\n\ngo 1.99\n\nretract v1.1.0\n",
	} {
		if err := os.WriteFile(filepath.Join(versions, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestModuleVersions(t *testing.T) {
	t.Parallel()
	dir := serveVersions(t)
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(server.Close)
	for name, proxy := range map[string]string{
		"directory":     "file://" + dir,
		"server":        server.URL,
		"second of two": "file://" + t.TempDir() + "," + server.URL,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := versionsFrom(t, proxy).List(t.Context(), fakeModule)
			if err != nil {
				t.Fatal(err)
			}
			// v1.1.0 was taken back.
			if want := []string{"v1.0.0", "v1.2.0-rc.1", "v1.3.0"}; !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestModuleVersionsThatNobodyTells(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	unreachable := server.URL
	server.Close()
	for name, tc := range map[string]struct{ proxy, want string }{
		"unreachable":    {strings.Replace(unreachable, "http://", "https://user:hunter2@", 1), "connection refused"},
		"switched off":   {"off", "disabled by GOPROXY=off"},
		"not served":     {"file://" + t.TempDir(), "no such file"},
		"empty and bare": {"", "GOPROXY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := versionsFrom(t, tc.proxy)
			if tc.proxy == "" {
				l.tools.fetch["GOPROXY"] = "," // which the go command refuses
			}
			_, err := l.List(t.Context(), fakeModule)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range []string{"listing the releases of " + fakeModule, tc.want, "GOPROXY"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v: want %q in it", err, want)
				}
			}
			for _, no := range []string{"hunter2", "env -i", "\n"} {
				if strings.Contains(err.Error(), no) {
					t.Errorf("%q: must not have %q", err, no)
				}
			}
		})
	}
}

// A lock names modules, and a lock is not taken on trust.
func TestModuleVersionsOfWhatIsNoPath(t *testing.T) {
	t.Parallel()
	for _, module := range []string{"-toolexec=/bin/false", "all", "./...", fakeModule + "@v1.0.0", ""} {
		l := &ModuleVersions{Runner: runtest.New(t)} // nothing runs
		if _, err := l.List(t.Context(), module); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "expected a Go module's path") {
			t.Errorf("%q: got %v", module, err)
		}
	}
}

// A proxy that never answers must not hold up a check.
func TestModuleVersionsOfASilentProxy(t *testing.T) {
	t.Parallel()
	held := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-held:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(held) })
	l := versionsFrom(t, server.URL)
	l.patience = 200 * time.Millisecond
	if _, err := l.List(t.Context(), fakeModule); err == nil || !strings.Contains(err.Error(), "no answer after 200ms") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := testContext(t)
	cancel()
	if _, err := l.List(ctx, fakeModule); err == nil || !strings.Contains(err.Error(), errStop.Error()) {
		t.Errorf("an interrupt: got %v", err)
	}
}

func TestModuleVersionsWithoutGo(t *testing.T) {
	t.Parallel()
	f := runtest.New(t)
	f.ExpectFunc("go env", isGoEnv).Fails(127, "failed to execute go")
	l := &ModuleVersions{Runner: f}
	if _, err := l.List(t.Context(), fakeModule); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "listing the releases of "+fakeModule) || !strings.Contains(err.Error(), "install Go") {
		t.Errorf("got %v", err)
	}
}

// What a built-in profile pins has a module that can be asked, and the ones it is
// built from are among them.
func TestModulesOf(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"kubernetes":      {"k8s.io/kubernetes"},
		"control-plane":   {"k8s.io/kubernetes"},
		"kube-proxy":      {"k8s.io/kubernetes"},
		"containerd":      {"github.com/containerd/containerd/v2", "github.com/containerd/containerd"},
		"crictl":          {"sigs.k8s.io/cri-tools"},
		"pause":           nil,
		"kube-proxy-base": nil,
		"something":       nil,
	} {
		if got := ModulesOf(name); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	for _, profile := range profiles.Names() {
		p, err := profiles.Load(profile)
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range p.Components {
			if name != "pause" && c.Source == profiles.SourceGoModule && !slices.Contains(ModulesOf(name), c.Module) {
				t.Errorf("%s: %s is built from %s, which is none of %v", profile, name, c.Module, ModulesOf(name))
			}
		}
	}
}
