package provisioners

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/kubernetes"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/parts"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

var update = flag.Bool("update", false, "write the golden files anew")

func debian13(t *testing.T) *profiles.Profile {
	t.Helper()
	p, err := profiles.Load("debian-13")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestGoldenPlans(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"debian-13", "ubuntu-24.04"} {
		goldenPlans(t, name, "host", "runtime", "kubernetes", "seal")
	}
	// What differs where a package has containerd and runc.
	goldenPlans(t, "ubuntu-24.04-docker", "runtime")
}

// goldenPlans compares the named plans of a profile with their golden files.
func goldenPlans(t *testing.T, profile string, names ...string) {
	t.Helper()
	p, err := profiles.Load(profile)
	if err != nil {
		t.Fatal(err)
	}
	made, err := Plans(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"host", "runtime", "kubernetes", "seal"} {
		if made[i].Name != name {
			t.Fatalf("plan %d is %q, want %q", i+1, made[i].Name, name)
		}
		if !slices.Contains(names, name) {
			continue
		}
		var got bytes.Buffer
		if err := made[i].WriteText(&got); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", profile+"."+name+".txt")
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s (-want +got; -update writes it anew):\n%s", path, diff)
		}
	}
}

// resolver has every file that upstream's components have.
type resolver struct {
	profile *profiles.Profile
	without string // a file that is missing
}

var files = map[string][]string{
	"containerd":  {"containerd", "containerd-shim-runc-v2", "ctr"},
	"runc":        {"runc"},
	"cni-plugins": {"bandwidth", "bridge", "dhcp", "dummy", "firewall", "host-device", "host-local", "ipvlan", "loopback", "macvlan", "portmap", "ptp", "sbr", "static", "tap", "tuning", "vlan", "vrf"},
	"kubernetes":  {"kube-apiserver", "kubeadm", "kubectl", "kubelet"},
	"etcd":        {"etcd"}, "coredns": {"coredns"}, "pause": {"pause"}, "kube-proxy-base": {"iptables.deb"},
}

func (r resolver) Component(_ context.Context, name string) (component.Built, error) {
	names, ok := files[name]
	if !ok {
		return component.Built{}, fmt.Errorf("unexpected component %q", name)
	}
	c := r.profile.Components[name]
	built := component.Built{Name: name, Version: c.Version, Record: manifest.Component{Name: name, Version: c.Version, Source: string(c.Source), Sum: c.Sum}}
	for _, f := range names {
		if f != r.without {
			built.Files = append(built.Files, component.File{Name: f, Path: "/store/" + name + "/" + f, SHA256: strings.Repeat("0", 64), Size: 1})
		}
	}
	return built, nil
}

func (r resolver) Images(context.Context) ([]component.Image, error) {
	var images []component.Image
	for _, name := range kubernetes.ImageNames(r.profile) {
		images = append(images, component.Image{Name: name, Digest: "sha256:" + strings.Repeat("1", 64), Size: 7, Path: "/store/" + filepath.Base(name)})
	}
	return images, nil
}

func (r resolver) Preloaded(context.Context) (string, error) { return "", nil }

func resolve(t *testing.T, r resolver) *parts.Set {
	t.Helper()
	var names []string
	for name := range r.profile.Components {
		names = append(names, name)
	}
	set, err := parts.Resolve(t.Context(), r, true, names...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// What is printed before a build is what the build does.
func TestResolvedPlansAreTheSame(t *testing.T) {
	t.Parallel()
	p := debian13(t)
	before, err := Plans(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	after, err := Plans(p, resolve(t, resolver{profile: p}))
	if err != nil {
		t.Fatal(err)
	}
	for i := range before {
		if missing := after[i].Unresolved(); len(missing) > 0 {
			t.Errorf("plan %s still lacks %v", after[i].Name, missing)
		}
		if diff := cmp.Diff(steps(before[i]), steps(after[i])); diff != "" {
			t.Errorf("plan %s (-before +after resolving):\n%s", before[i].Name, diff)
		}
	}
	if len(before[1].Unresolved()) == 0 || len(before[2].Unresolved()) == 0 {
		t.Error("plans made from the profile alone claim to hold their components")
	}
}

// steps lists places and reasons, without what only a resolved plan knows.
func steps(p plan.Plan) []string {
	var lines []string
	for _, s := range p.Steps {
		what, _, _ := strings.Cut(s.What(), " from ")
		if s.Command != nil {
			what = fmt.Sprintf("%s, %d staged", s.Command.Argv[0], len(s.Command.Stage))
		}
		lines = append(lines, what+": "+s.Why)
	}
	return lines
}

func TestPlansWithoutAFile(t *testing.T) {
	t.Parallel()
	p := debian13(t)
	for _, file := range []string{"containerd-shim-runc-v2", "runc", "loopback", "kubelet"} {
		_, err := Plans(p, resolve(t, resolver{profile: p, without: file}))
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("without %s: %v, want an error that names it", file, err)
		}
	}
}

func TestFragments(t *testing.T) {
	t.Parallel()
	p := debian13(t)
	made, err := Plans(p, resolve(t, resolver{profile: p}))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, one := range made {
		for _, s := range one.Steps {
			if s.File == nil || filepath.Dir(s.File.Path) != manifest.FragmentDir {
				continue
			}
			for name := range p.Components {
				if strings.Contains(s.File.Content, `"name": "`+name+`"`) {
					seen[name] = true
				}
			}
			for _, image := range kubernetes.ImageNames(p) {
				if strings.Contains(s.File.Content, `"name": "`+image+`"`) {
					seen[image] = true
				}
			}
		}
	}
	var missing []error
	for name := range p.Components {
		if !seen[name] {
			missing = append(missing, errors.New(name))
		}
	}
	for _, image := range kubernetes.ImageNames(p) {
		if !seen[image] {
			missing = append(missing, errors.New(image))
		}
	}
	if len(missing) > 0 {
		t.Errorf("no manifest fragment tells of: %v", errors.Join(missing...))
	}
}
