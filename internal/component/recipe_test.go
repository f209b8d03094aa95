package component

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

var update = flag.Bool("update", false, "write the golden files")

func debian13(t *testing.T) *profiles.Profile {
	t.Helper()
	p, err := profiles.Load("debian-13")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// releaseOf is the release that the profile pins for a component.
func releaseOf(p *profiles.Profile, name string) release {
	if name == "control-plane" {
		name = "kubernetes" // which the profile makes it from
	}
	c := p.Components[name]
	return release{c.Version, c.Module, c.GoModuleVersion(), c.Sum}
}

// The commands are golden: a flag that changes here changes every binary.
func TestCommands(t *testing.T) {
	t.Parallel()
	p := debian13(t)
	var got strings.Builder
	for _, name := range slices.Sorted(maps.Keys(recipes())) {
		r := recipes()[name](releaseOf(p, name))
		got.WriteString("# " + name + "\n")
		for _, b := range r.Builds {
			for _, argv := range b.commands("OUT") {
				if b.CGO {
					got.WriteString("CGO_ENABLED=1 ")
				}
				got.WriteString(run.Quote(argv) + "\n")
			}
		}
		if r.C != nil {
			got.WriteString(run.Quote(append([]string{"gcc"}, r.C.Flags...)) + " " + r.C.Source + "\n")
		}
		for _, probe := range r.Probes {
			got.WriteString(run.Quote(append([]string{probe.Name}, probe.Args...)) + " prints " + run.Quote(probe.Want) + "\n")
		}
	}
	golden := filepath.Join("testdata", "commands.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("commands (-want +got), accept with -update:\n%s", diff)
	}
}

// A stamp that no probe looks for could be lost without anybody noticing.
func TestEveryProgramIsProbed(t *testing.T) {
	t.Parallel()
	p := debian13(t)
	for name, makeRecipe := range recipes() {
		rel := releaseOf(p, name)
		r := makeRecipe(rel)
		probed := map[string]bool{}
		for _, probe := range r.Probes {
			probed[probe.Name] = true
			if !strings.Contains(strings.Join(probe.Want, "\n"), rel.Version) {
				t.Errorf("%s: the probe of %s does not look for the version", name, probe.Name)
			}
		}
		programs := r.programs()
		for _, program := range programs {
			if !probed[program] {
				t.Errorf("%s: %s is built and not probed", name, program)
			}
		}
		if len(probed) != len(programs) {
			t.Errorf("%s: %d programs, %d of them probed", name, len(programs), len(probed))
		}
	}
}

func TestDefaultName(t *testing.T) {
	t.Parallel()
	for pkg, want := range map[string]string{
		"k8s.io/kubernetes/cmd/kubelet": "kubelet",
		"go.etcd.io/etcd/etcdctl/v3":    "etcdctl",
		"example.com/tool/vault":        "vault",
		"example.com/x/v":               "v",
	} {
		if got := defaultName(pkg); got != want {
			t.Errorf("defaultName(%q) = %q, expected %q", pkg, got, want)
		}
	}
}

func TestRuncStamp(t *testing.T) {
	t.Parallel()
	if stamps := runcRecipe(release{Version: "1.3.6"}).Builds[0].Stamps; !slices.Equal(stamps, []string{"main.version=1.3.6"}) {
		t.Errorf("runc 1.3.6 is stamped with %q, which does not embed its version", stamps)
	}
	if stamps := runcRecipe(release{Version: "1.5.2"}).Builds[0].Stamps; len(stamps) != 0 {
		t.Errorf("runc 1.5.2 embeds its version and is stamped with %q", stamps)
	}
}

// The built-in profile needs nothing that is not there.
func TestBuiltInProfileIsPinned(t *testing.T) {
	t.Parallel()
	if _, err := New(debian13(t), newStore(t), Options{}); err != nil {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(components map[string]profiles.Component)
		want   []string
	}{
		"a sum that is not the pinned one": {
			func(c map[string]profiles.Component) {
				runc := c["runc"]
				runc.Sum = "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
				c["runc"] = runc
			},
			[]string{"component runc: sum of github.com/opencontainers/runc v1.5.2 does not match", "expects h1:AAAAAAAA", "found h1:eUUowc2WJCnFYzI87C1WqRcu356Dk/wsoi90y+2wEfE="},
		},
		"a version without a pin": {
			func(c map[string]profiles.Component) {
				kubernetes := c["kubernetes"]
				kubernetes.Version = "1.99.0"
				c["kubernetes"] = kubernetes
			},
			[]string{"component kubernetes: version 1.99.0", "known: ", "1.37.2", "genpin kubernetes 1.99.0"},
		},
		"pause from a module version without a pin": {
			func(c map[string]profiles.Component) {
				pause := c["pause"]
				pause.ModuleVersion = "v1.99.0"
				c["pause"] = pause
			},
			[]string{"component pause: version 3.10.2", "genpin kubernetes 1.99.0"},
		},
		"sources without what they need, all at once": {
			func(c map[string]profiles.Component) {
				for name, source := range map[string]profiles.SourceKind{"runc": profiles.SourceRelease, "containerd": profiles.SourceFile, "etcd": "floppy"} {
					changed := c[name]
					changed.Source = source
					c[name] = changed
				}
			},
			[]string{`component runc: source "release" needs a list of files`, `component containerd: source "file" needs a list of files`, `component etcd: unknown source "floppy"`},
		},
		"a component that has no recipe": {
			func(c map[string]profiles.Component) {
				c["crun"] = profiles.Component{Version: "1.0.0", Source: profiles.SourceGoModule}
			},
			[]string{"component crun: cannot be built from a Go module"},
		},
		"no packages": {
			func(c map[string]profiles.Component) {
				c["kube-proxy-base"] = profiles.Component{Source: profiles.SourceDeb}
			},
			[]string{"component kube-proxy-base", "needs a list of packages"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := debian13(t)
			tt.change(p.Components)
			_, err := New(p, newStore(t), Options{})
			if exitcode.Of(err) != exitcode.Usage {
				t.Fatalf("New: exit code %d, %v; expected bad input", exitcode.Of(err), err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("New: %v; expected it to contain %q", err, want)
				}
			}
		})
	}
}

func TestNewRefusesUnknownArchitecture(t *testing.T) {
	t.Parallel()
	p := debian13(t)
	p.OS.Arch = "s390x"
	_, err := New(p, newStore(t), Options{})
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "cannot be built for s390x: expected one of amd64, arm64") {
		t.Errorf("New: %v", err)
	}
}

func TestComponentUnknown(t *testing.T) {
	t.Parallel()
	m, err := New(debian13(t), newStore(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Component(t.Context(), "docker"); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), `no component "docker"`) {
		t.Errorf("Component: %v", err)
	}
}
