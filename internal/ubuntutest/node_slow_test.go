//go:build integration && slow

package ubuntutest

import (
	"encoding/json"
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
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/upstreamtest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// upstreamStandIn is what the profile says of the releases and of the registry.
const upstreamStandIn = "upstream's releases and its registry (programs built from Go modules)"

// TestNode makes a whole node of ubuntu-24.04, from the stand-in archive and
// from release files and a registry of upstream's shape, and puts it through
// checks and suite as a user would: by the command line. E2E_FILTER narrows what
// is run in the booted machine.
func TestNode(t *testing.T) {
	a := newArchive(t)
	server := upstreamtest.New(t.TempDir())
	t.Cleanup(server.Close)
	dir := t.TempDir()
	text, err := yaml.Marshal(map[string]any{
		"standIns":   []string{StandIn, upstreamStandIn},
		"components": upstreamComponents(t, server, dir),
	})
	must(t, err)
	profile := writeProfile(t, a.Profile("ubuntu-24.04-stand-in", "ubuntu-24.04", string(text)))

	program := filepath.Join(dir, "nodeimage")
	nodeimage := func(args ...string) {
		t.Helper()
		begin := time.Now()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = append(os.Environ(), "NODEIMAGE_MIRRORS="+strings.Join(server.Settings(), ","))
		out, err := cmd.CombinedOutput()
		t.Logf("nodeimage %s: %.0f s\n%s", args[0], time.Since(begin).Seconds(), out)
		if err != nil {
			t.Fatalf("nodeimage %s: %v", args[0], err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", program, "../../cmd/nodeimage")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	image := filepath.Join(dir, "out", "ubuntu-24.04-stand-in.qcow2")
	nodeimage("build", profile, "-o", filepath.Dir(image))
	nodeimage("validate", image, "--profile", profile)
	filter := os.Getenv("E2E_FILTER")
	if filter == "" {
		filter = "!slow"
	}
	result := filepath.Join(dir, "e2e")
	nodeimage("e2e", image, "--profile", profile, "--firmware", "secureboot", "--label-filter", filter, "-o", result)

	data, err := os.ReadFile(filepath.Join(result, e2e.SummaryFile))
	must(t, err)
	var summary e2e.Result
	must(t, json.Unmarshal(data, &summary))
	if !summary.Passed() || !slices.Equal(summary.StandIns, []string{StandIn, upstreamStandIn}) || !strings.Contains(summary.Headline(), "NOT ON THE REAL THING") {
		t.Errorf("%s, stand-ins %q", summary.Headline(), summary.StandIns)
	}
}

// upstreamComponents are debian-13's programs and images as upstream would
// publish them, in the form that a profile pins them.
func upstreamComponents(t *testing.T, server *upstreamtest.Server, dir string) map[string]any {
	t.Helper()
	p, err := profiles.Load("debian-13")
	must(t, err)
	cache, err := store.DefaultDir()
	must(t, err)
	s, err := store.Open(cache)
	must(t, err)
	maker, err := component.New(p, s, component.Options{Logf: t.Logf})
	must(t, err)
	programs := func(component string, only ...string) upstreamtest.Programs {
		t.Helper()
		built, err := maker.Component(t.Context(), component)
		must(t, err)
		paths := map[string]string{}
		for _, f := range built.Files {
			if len(only) == 0 || slices.Contains(only, f.Name) {
				paths[f.Name] = f.Path
			}
		}
		return upstreamtest.FromFiles(paths)
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
