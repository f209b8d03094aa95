package outdated

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

const (
	containerd1 = "github.com/containerd/containerd"
	containerd2 = containerd1 + "/v2"
)

// lists answers from a table, and counts.
type lists struct {
	mu    sync.Mutex
	have  map[string][]string
	asked []string
}

func (l *lists) versions(_ context.Context, module string) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, module)
	list, ok := l.have[module]
	if !ok {
		return nil, errors.New("listing the releases of " + module + ": no route to host")
	}
	return list, nil
}

func TestNewerReleases(t *testing.T) {
	t.Parallel()
	have := map[string][]string{
		containerd1:                      {"v1.7.9", "v1.7.35", "v1.7.32", "v2.0.0+incompatible"},
		containerd2:                      {"v2.3.7", "v2.3.10", "v2.3.9", "v2.4.2", "v2.5.0-rc.1"},
		"github.com/opencontainers/runc": {"v1.4.9", "v1.5.2", "v1.6.0-rc.1"},
		"k8s.io/kubernetes":              {"v1.36.3", "v1.37.2", "not-a-version"},
		"github.com/coredns/coredns":     {},
	}
	for name, tc := range map[string]struct {
		in   lock.Component
		want Component
	}{
		"patch and minor, by number and not by letter": {
			lock.Component{Name: "containerd", Version: "2.3.7", Source: "gomod", From: containerd2 + "@v2.3.7"},
			Component{Modules: []string{containerd2}, Patch: "2.3.10", Newest: "2.4.2", State: Outdated},
		},
		"a major version of another path": {
			lock.Component{Name: "containerd", Version: "1.7.32", Source: "gomod", From: containerd1 + "@v1.7.32"},
			Component{Modules: []string{containerd2, containerd1}, Patch: "1.7.35", Newest: "2.4.2", State: Outdated},
		},
		"a release's files": {
			lock.Component{Name: "containerd", Version: "v2.4.1", Source: "release", From: "https://example.test/containerd.tar.gz"},
			Component{Version: "2.4.1", Modules: []string{containerd2}, Patch: "2.4.2", Newest: "2.4.2", State: Outdated},
		},
		"current: the only newer one is a pre-release": {
			lock.Component{Name: "runc", Version: "1.5.2", Source: "gomod", From: "github.com/opencontainers/runc@v1.5.2"},
			Component{Modules: []string{"github.com/opencontainers/runc"}, Patch: "1.5.2", Newest: "1.5.2", State: Current},
		},
		"a pre-release is older than what it leads to": {
			lock.Component{Name: "runc", Version: "1.5.2-rc.3", Source: "gomod", From: "github.com/opencontainers/runc@v1.5.2-rc.3"},
			Component{Modules: []string{"github.com/opencontainers/runc"}, Patch: "1.5.2", Newest: "1.5.2", State: Outdated},
		},
		"a proxy that does not know the pinned release yet": {
			lock.Component{Name: "kubernetes", Version: "1.36.4", Source: "release"},
			Component{Modules: []string{"k8s.io/kubernetes"}, Patch: "1.36.4", Newest: "1.37.2", State: Outdated},
		},
		"newer than all that a proxy knows": {
			lock.Component{Name: "kube-apiserver", Version: "1.38.0", Source: "registry", From: "registry.k8s.io/kube-apiserver"},
			Component{Modules: []string{"k8s.io/kubernetes"}, Patch: "1.38.0", Newest: "1.38.0", State: Current},
		},
		"a fork is asked for its own": {
			lock.Component{Name: "runc", Version: "1.5.2", Source: "gomod", From: "example.test/fork/runc@v1.5.2"},
			Component{Modules: []string{"example.test/fork/runc"}, State: Unknown, Error: "listing the releases of example.test/fork/runc: no route to host"},
		},
		"a module without versions": {
			lock.Component{Name: "coredns", Version: "1.14.6", Source: "gomod", From: "github.com/coredns/coredns@v1.14.6"},
			Component{Modules: []string{"github.com/coredns/coredns"}, State: Unknown, Error: "github.com/coredns/coredns: its list has no release: expected one at least: check GOPROXY"},
		},
		"a proxy that cannot be reached": {
			lock.Component{Name: "etcd", Version: "3.7.0", Source: "gomod", From: "go.etcd.io/etcd/server/v3@v3.7.0"},
			Component{Modules: []string{"go.etcd.io/etcd/server/v3"}, State: Unknown, Error: "listing the releases of go.etcd.io/etcd/server/v3: no route to host"},
		},
		"pause": {
			lock.Component{Name: "pause", Version: "3.10.2", Source: "gomod", From: "k8s.io/kubernetes@v1.37.2"},
			Component{State: Unknown, Reason: "no module lists its releases: it is a part of k8s.io/kubernetes with a version of its own"},
		},
		"pause's image": {
			lock.Component{Name: "pause", Version: "3.10.2", Source: "registry"},
			Component{State: Unknown, Reason: "no module lists its releases: it is a part of k8s.io/kubernetes with a version of its own"},
		},
		"a package": {
			lock.Component{Name: "runc", Version: "1.3.6+ds1-1", Source: "deb", Packages: []lock.Package{{Name: "runc"}}},
			Component{State: Unknown, Reason: "it comes from the distribution's archive, which decides about its version"},
		},
		"no version": {
			lock.Component{Name: "runc", Source: "file"},
			Component{State: Unknown, Reason: "the lock has no version of it"},
		},
		"no semantic version": {
			lock.Component{Name: "runc", Version: "2026w48", Source: "file"},
			Component{State: Unknown, Reason: `"2026w48" is no semantic version, such as 1.2.3, that releases could be compared with`},
		},
		"no module": {
			lock.Component{Name: "crun", Version: "1.2.3", Source: "file"},
			Component{State: Unknown, Reason: "no Go module with its releases is known"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &lists{have: have}
			got, err := Of(t.Context(), []lock.Component{tc.in}, l.versions)
			if err != nil {
				t.Fatal(err)
			}
			want := tc.want
			want.Name = tc.in.Name
			if want.Version == "" {
				want.Version = tc.in.Version
			}
			if diff := cmp.Diff([]Component{want}, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// One module that nobody serves hides nothing, and none is asked twice.
func TestEachModuleIsAskedOnce(t *testing.T) {
	t.Parallel()
	l := &lists{have: map[string][]string{"k8s.io/kubernetes": {"v1.37.3"}}}
	got, err := Of(t.Context(), []lock.Component{
		{Name: "runc", Version: "1.5.2", Source: "release"},
		{Name: "kubernetes", Version: "1.37.2", Source: "release"},
		{Name: "kube-proxy", Version: "1.37.2", Source: "registry"},
	}, l.versions)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range got {
		names = append(names, c.Name)
	}
	if want := []string{"kube-proxy", "kubernetes", "runc"}; !slices.Equal(names, want) {
		t.Fatalf("got %v, want %v", names, want)
	}
	if got[0].Newest != "1.37.3" || got[1].Newest != "1.37.3" || got[2].Error == "" {
		t.Errorf("got %+v", got)
	}
	slices.Sort(l.asked)
	if want := []string{"github.com/opencontainers/runc", "k8s.io/kubernetes"}; !slices.Equal(l.asked, want) {
		t.Errorf("asked %v, want %v", l.asked, want)
	}
}

// An interrupt is none of a proxy's failures.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	stop := errors.New("stopped by the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := Of(ctx, []lock.Component{{Name: "runc", Version: "1.5.2", Source: "release"}}, func(ctx context.Context, _ string) ([]string, error) {
		cancel(stop)
		return nil, context.Cause(ctx)
	})
	if !errors.Is(err, stop) {
		t.Errorf("got %v, want %v", err, stop)
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := Write(&out, []Component{
		{Name: "cni-plugins", Version: "1.9.1", Patch: "1.9.1", Newest: "1.10.0", State: Outdated},
		{Name: "containerd", Version: "2.3.7", Patch: "2.3.9", Newest: "2.4.2", State: Outdated},
		{Name: "coredns", Version: "1.14.6", State: Unknown, Error: "listing the releases of x: no route to host"},
		{Name: "kube-proxy-base", State: Unknown, Reason: "it comes from the archive"},
		{Name: "pause", Version: "3.10.2", State: Unknown, Reason: "no module lists its releases"},
		{Name: "runc", Version: "1.5.2", Patch: "1.5.2", Newest: "1.5.2", State: Current},
	}); err != nil {
		t.Fatal(err)
	}
	want := `  component cni-plugins 1.9.1: none newer in its line, 1.10.0 newest
  component containerd 2.3.7: 2.3.9 in its line, 2.4.2 newest
  component coredns 1.14.6: warning: newer releases are not known: listing the releases of x: no route to host
  component kube-proxy-base: newer releases are unknown: it comes from the archive
  component pause 3.10.2: newer releases are unknown: no module lists its releases
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]Component{
		`{"name":"runc","version":"1.5.2","modules":["m"],"state":"current","patch":"1.5.2","newest":"1.5.2"}`: {Name: "runc", Version: "1.5.2", Modules: []string{"m"}, Patch: "1.5.2", Newest: "1.5.2", State: Current},
		`{"name":"runc","version":"1.5.2","modules":["m"],"state":"unknown","error":"no route"}`:               {Name: "runc", Version: "1.5.2", Modules: []string{"m"}, State: Unknown, Error: "no route"},
		`{"name":"pause","version":"3.10.2","state":"unknown","reason":"no list"}`:                             {Name: "pause", Version: "3.10.2", State: Unknown, Reason: "no list"},
	} {
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(text)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
