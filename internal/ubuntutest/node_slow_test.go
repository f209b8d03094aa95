//go:build integration && slow

package ubuntutest

import (
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/upstreamtest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// upstreamStandIn is what the profile says of the releases and of the registry.
const upstreamStandIn = "upstream's releases and its registry (programs built from Go modules)"

// node is a profile that is built from stand-ins.
type node struct {
	profile string
	archive func(run.Runner) Options
	// filter chooses the specs that are run in the booted machine: on one release
	// all, on the others whether it is a cluster.
	filter string
	// warnings are validate's that no profile can do anything about.
	warnings []string
	docker   bool // containerd and runc are Docker's package
	cloud    bool // the base is an image that boots, as Ubuntu's own
}

// TestNode makes whole nodes of Ubuntu's profiles, from the stand-in archive and
// from release files and a registry of upstream's shape, and puts them through
// checks and suite as a user would: by the command line. E2E_FILTER chooses other
// specs.
func TestNode(t *testing.T) {
	for _, n := range []node{
		{profile: "ubuntu-24.04", archive: Noble},
		{profile: "ubuntu-22.04", archive: Jammy, filter: "smoke"},
		{profile: "ubuntu-26.04", archive: Resolute, filter: "smoke", warnings: []string{"apparmor-exec-signal-denied"}},
		{profile: "ubuntu-24.04-docker", archive: Noble, filter: "smoke", docker: true},
		{profile: "ubuntu-24.04", archive: Noble, filter: "smoke", cloud: true},
	} {
		name := n.profile
		if n.cloud {
			name += "-on-a-cloud-image"
		}
		t.Run(name, func(t *testing.T) { makeNode(t, n) })
	}
}

func makeNode(t *testing.T, n node) {
	o := n.archive(run.Host{})
	a := newArchive(t, o)
	server := upstreamtest.New(t.TempDir())
	t.Cleanup(server.Close)
	dir := t.TempDir()
	components, standIns := upstreamComponents(t, server, dir), []string{StandIn, upstreamStandIn}
	more := map[string]any{}
	var sources []string
	var cloud cloudImage
	if n.cloud {
		cloud = newCloudImage(t, a, server)
		more["base"], standIns = cloud.base(), append(standIns, cloudStandIn)
	}
	if n.docker {
		d, containerd := dockersContainerd(t, o)
		delete(components, "runc") // as the profile has it
		components["containerd"] = containerd
		sources, standIns = append(sources, d.Source()), append(standIns, DockerStandIn)
	}
	more["standIns"], more["components"] = standIns, components
	text, err := yaml.Marshal(more)
	must(t, err)
	name := n.profile + "-stand-in"
	profile := writeProfile(t, a.Profile(name, n.profile, string(text), sources...))

	program := filepath.Join(dir, "nodeimage")
	nodeimage := func(args ...string) string {
		t.Helper()
		begin := time.Now()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = append(os.Environ(), "NODEIMAGE_MIRRORS="+strings.Join(server.Settings(), ","))
		out, err := cmd.CombinedOutput()
		t.Logf("nodeimage %s: %.0f s\n%s", args[0], time.Since(begin).Seconds(), out)
		if err != nil {
			t.Fatalf("nodeimage %s: %v", args[0], err)
		}
		return string(out)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", program, "../../cmd/nodeimage")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	image := filepath.Join(dir, "out", name+".qcow2")
	nodeimage("build", profile, "-o", filepath.Dir(image))
	if n.cloud {
		cloud.assertKept(t, image)
	}
	var warnings []string
	for line := range strings.Lines(nodeimage("validate", image, "--profile", profile)) {
		if rest, ok := strings.CutPrefix(line, "WARN "); ok {
			warnings = append(warnings, strings.Fields(rest)[0])
		}
	}
	if !slices.Equal(warnings, n.warnings) {
		t.Errorf("validate warns of %q, expected %q", warnings, n.warnings)
	}
	filter := cmp.Or(os.Getenv("E2E_FILTER"), n.filter)
	result := filepath.Join(dir, "e2e")
	firmware := "secureboot"
	if filter == "" {
		firmware = "secureboot,bios"
	}
	nodeimage("e2e", image, "--profile", profile, "--firmware", firmware, "--label-filter", filter, "-o", result)

	data, err := os.ReadFile(filepath.Join(result, e2e.SummaryFile))
	must(t, err)
	var summary e2e.Result
	must(t, json.Unmarshal(data, &summary))
	if !summary.Passed() || !slices.Equal(summary.StandIns, standIns) || !strings.Contains(summary.Headline(), "NOT ON THE REAL THING") {
		t.Errorf("%s, stand-ins %q", summary.Headline(), summary.StandIns)
	}
}

// dockersContainerd is Docker's package as the profile pins it, made of the
// programs of those versions, and what a profile says of it.
func dockersContainerd(t *testing.T, o Options) (*Docker, map[string]any) {
	t.Helper()
	const text = `apiVersion: nodeimage.dev/v1alpha1
kind: Profile
name: programs
extends: debian-13
components:
  containerd: {version: 2.3.6, sum: "h1:huoqZXaDW1x1kgPvFC4rMwxv92vUJnqgq7I5b1rSddM="}
  runc: {version: 1.5.1, sum: "h1:zgJPvESRUNz2UhHTG436ZIewGbQoJDAO9HRyyarggfY="}
`
	_, maker := makerOf(t, writeProfile(t, text))
	programs := programsOf(t, maker, "containerd")
	maps.Copy(programs, programsOf(t, maker, "runc"))
	p, err := profiles.Load("ubuntu-24.04-docker")
	must(t, err)
	version := p.Components["containerd"].Version
	if !strings.HasPrefix(version, "2.3.6-") || p.Components["runc"].Version != "1.5.1" {
		t.Fatalf("the profile has containerd.io %s with runc %s: make the stand-in of these", version, p.Components["runc"].Version)
	}
	d, err := NewDocker(t.Context(), t.TempDir(), o, Containerd{Version: version, Programs: programs})
	must(t, err)
	t.Cleanup(d.Close)
	return d, map[string]any{"version": version, "source": "deb", "packages": []string{"containerd.io"}, "sha256": map[string]string{o.Arch: d.Sums[version]}}
}

// makerOf makes the components of a profile, in the user's own store.
func makerOf(t *testing.T, profile string) (*profiles.Profile, *component.Maker) {
	t.Helper()
	p, err := profiles.Load(profile)
	must(t, err)
	cache, err := store.DefaultDir()
	must(t, err)
	s, err := store.Open(cache)
	must(t, err)
	maker, err := component.New(p, s, component.Options{Logf: t.Logf})
	must(t, err)
	return p, maker
}

// programsOf are the paths of a component's programs by name: of all, or only of
// those named.
func programsOf(t *testing.T, maker *component.Maker, component string, only ...string) map[string]string {
	t.Helper()
	built, err := maker.Component(t.Context(), component)
	must(t, err)
	paths := map[string]string{}
	for _, f := range built.Files {
		if len(only) == 0 || slices.Contains(only, f.Name) {
			paths[f.Name] = f.Path
		}
	}
	return paths
}

// upstreamComponents are debian-13's programs and images as upstream would
// publish them, in the form that a profile pins them.
func upstreamComponents(t *testing.T, server *upstreamtest.Server, dir string) map[string]any {
	t.Helper()
	p, maker := makerOf(t, "debian-13")
	programs := func(component string, only ...string) upstreamtest.Programs {
		t.Helper()
		return upstreamtest.FromFiles(programsOf(t, maker, component, only...))
	}
	out := map[string]any{}
	release := func(as, component, version string, programs upstreamtest.Programs) {
		t.Helper()
		files, err := server.Release(component, version, p.OS.Arch, programs)
		must(t, err)
		out[as] = map[string]any{"version": version, "source": "release", "files": files}
	}
	kubernetes := p.Components["kubernetes"].Version
	release("kubernetes", "kubernetes", kubernetes, programs("kubernetes", "kubeadm", "kubelet", "kubectl"))
	release("containerd", "containerd", p.Components["containerd"].Version, programs("containerd"))
	for _, name := range []string{"runc", "cni-plugins"} {
		c := p.Components[name]
		out[name] = map[string]any{"version": c.Version, "source": "gomod", "module": c.Module, "sum": c.Sum}
	}

	images, err := maker.Images(t.Context())
	must(t, err)
	for _, image := range images {
		digest, err := server.AddImage(image.Name, map[string]string{p.OS.Arch: image.Path})
		must(t, err)
		tag := strings.TrimPrefix(image.Name, p.Kubernetes.ImageRepository+"/")
		name, _, _ := strings.Cut(filepath.Base(tag), ":")
		c := map[string]any{"version": kubernetes, "source": "registry", "digest": digest}
		if own, ok := p.Components[name]; ok {
			c["version"], c["image"] = own.Version, tag
		}
		out[name] = c
	}
	// No image needs it, but ubuntu's own has to be of the same release.
	release("control-plane", "kubernetes", kubernetes, programs("kubernetes", "kube-apiserver"))

	crictl := filepath.Join(dir, "crictl")
	install := exec.CommandContext(t.Context(), "go", "install", "-trimpath", "sigs.k8s.io/cri-tools/cmd/crictl@v1.36.0")
	install.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0", "GOFLAGS=")
	if text, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	release("crictl", "crictl", "1.36.0", upstreamtest.Programs{"crictl": {Path: crictl}})
	return out
}
