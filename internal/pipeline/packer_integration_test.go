//go:build integration

package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/nodediff"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/pipeline"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/programtest"
)

const repository = "../.."

// packer returns the real packer binary that `make bin/packer` builds.
func packer(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(repository, "bin/packer"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v; run 'make bin/packer' first", err)
	}
	return path
}

// hermetic is an environment in which packer sees this repository's plugin
// and nothing of the user's.
func hermetic(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	return append(os.Environ(),
		"PACKER_PLUGIN_PATH="+filepath.Join(dir, "plugins"),
		"PACKER_CONFIG_DIR="+filepath.Join(dir, "config"),
		"PACKER_CACHE_DIR="+filepath.Join(dir, "cache"),
		"CHECKPOINT_DISABLE=1",
		"PACKER_NO_COLOR=1",
	)
}

func command(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// installPlugin puts the plugin into env's plugin directory the way users do.
func installPlugin(t *testing.T, env []string) {
	t.Helper()
	plugin := filepath.Join(t.TempDir(), "packer-plugin-nodeimage")
	command(t, os.Environ(), "go", "build", "-trimpath", "-o", plugin, repository)
	command(t, env, filepath.Join(repository, ".ci/install-plugin"), plugin, packer(t))
}

// Both ways in must be one code path: the same inputs give the same image to
// the last byte, containerd's store with every container image included.
func TestPackerAndCommandLineAgree(t *testing.T) {
	env := hermetic(t)
	installPlugin(t, env)
	template := filepath.Join(repository, "docs/templates/nodeimage.pkr.hcl")

	byPacker := filepath.Join(t.TempDir(), "packer")
	out := command(t, env, packer(t), "build", "-color=false", "-var", "profile=debian-13", "-var", "output_directory="+byPacker, template)
	if !strings.Contains(out, "debian-13.qcow2") {
		t.Errorf("packer does not name the image it made:\n%s", out)
	}
	if !strings.Contains(out, "(profile debian-13): 0 checks failed") {
		t.Errorf("the post-processor did not pass the image:\n%s", out)
	}

	inProcess := filepath.Join(t.TempDir(), "nodeimage")
	result, err := pipeline.Build(t.Context(), pipeline.Options{Profile: "debian-13", OutputDir: inProcess, UI: console.New(os.Stderr)})
	if err != nil {
		t.Fatal(err)
	}
	// Once more, from what that build kept of host and runtime.
	var said strings.Builder
	again, err := pipeline.Build(t.Context(), pipeline.Options{Profile: "debian-13", OutputDir: filepath.Join(t.TempDir(), "again"), UI: console.New(&said)})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "nothing that host and runtime are made of has changed") || strings.Contains(said.String(), "nodeimage-runtime") {
		t.Errorf("the second build did not take host and runtime from the cache:\n%s", said.String())
	}
	if again.ID != result.ID {
		t.Errorf("with host and runtime from the cache the image is %s, without %s", again.ID, result.ID)
	}
	got, want := readManifest(t, byPacker), readManifest(t, inProcess)
	if result.ID != want.Images[0].SHA256 {
		t.Errorf("artifact ID is %s, want the image's sha256 %s", result.ID, want.Images[0].SHA256)
	}
	for _, m := range []*manifest.Manifest{&got, &want} {
		if len(m.Components) == 0 || len(m.Packages) == 0 || len(m.Containers) == 0 {
			t.Fatalf("manifest lacks components, packages or container images: %d, %d, %d", len(m.Components), len(m.Packages), len(m.Containers))
		}
	}
	if diff := cmp.Diff(want.Images, got.Images); diff != "" {
		t.Errorf("packer's image differs from nodeimage build's (-nodeimage +packer):\n%s", diff)
		report, err := nodediff.Compare(t.Context(), filepath.Join(inProcess, "debian-13.qcow2"), filepath.Join(byPacker, "debian-13.qcow2"), nodediff.Options{Disk: true})
		var text strings.Builder
		t.Logf("%v\n%s", errors.Join(err, report.WriteText(&text, nodediff.TextOptions{})), text.String())
	}
	got.Images = want.Images
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packer's manifest differs from nodeimage build's (-nodeimage +packer):\n%s", diff)
	}
}

func TestTooOldPackerIsRefused(t *testing.T) {
	fake := filepath.Join(t.TempDir(), "packer")
	if err := programtest.WriteFile(fake, []byte("#!/bin/sh\necho 'Packer v1.10.3'\n")); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(repository, ".ci/install-plugin"), "plugin", fake).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is version 1.10.3") || !strings.Contains(string(out), "1.12.0 or newer") {
		t.Errorf("got %v, %s; want a refusal that names both versions", err, out)
	}
}

func readManifest(t *testing.T, dir string) manifest.Manifest {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "debian-13.manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}
