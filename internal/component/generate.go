package component

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// defaultModule is the module path of a component's newest versions.
func defaultModule(component string) string {
	return map[string]string{
		"containerd":  "github.com/containerd/containerd/v2",
		"runc":        "github.com/opencontainers/runc",
		"cni-plugins": "github.com/containernetworking/plugins",
		"kubernetes":  "k8s.io/kubernetes",
		"etcd":        "go.etcd.io/etcd/server/v3",
		"coredns":     "github.com/coredns/coredns",
	}[component]
}

// GeneratePin resolves the dependencies of a component's version as upstream
// has them and writes go.mod.pin and go.sum.pin below dir/pins. It returns the
// h1: sum of the main module. The checksum database vouches for every sum
// unless the go command is configured to go without it.
func GeneratePin(ctx context.Context, dir, component, module, version string) (sum string, err error) {
	if module == "" {
		module = defaultModule(component)
	}
	makeRecipe, ok := recipes()[component]
	if !ok || module == "" {
		return "", fmt.Errorf("no pin can be made for component %q: expected one of %s", component,
			strings.Join(slices.Sorted(maps.Keys(recipes())), ", "))
	}
	r := release{Version: version, Module: module, ModuleVersion: "v" + version}
	tmp, err := os.MkdirTemp("", "genpin-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)

	upstream, err := downloadGoMod(ctx, tmp, r)
	if err != nil {
		return "", err
	}
	text, err := pinnedGoMod(component, r, upstream, makeRecipe(r).packages())
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(tmp, "go.mod"), text, 0o644); err != nil {
		return "", err
	}
	env := []string{"GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=local"}
	if _, err := (run.Host{}).Run(ctx, run.Cmd{Argv: []string{"go", "mod", "tidy"}, Env: env, Dir: tmp}); err != nil {
		return "", err
	}
	goMod, err := os.ReadFile(filepath.Join(tmp, "go.mod"))
	if err != nil {
		return "", err
	}
	goSum, err := os.ReadFile(filepath.Join(tmp, "go.sum"))
	if err != nil {
		return "", err
	}
	prefix := module + " " + r.ModuleVersion + " "
	for line := range strings.Lines(string(goSum)) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), prefix); ok {
			sum = s
		}
	}
	if sum == "" {
		return "", fmt.Errorf("go mod tidy left no sum for %s %s", module, r.ModuleVersion)
	}
	target := filepath.Join(dir, pinName(component, r.ModuleVersion))
	if err := os.MkdirAll(target, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(target, pinGoMod), goMod, 0o644); err != nil {
		return "", err
	}
	return sum, os.WriteFile(filepath.Join(target, pinGoSum), goSum, 0o644)
}

// downloadGoMod returns upstream's go.mod.
func downloadGoMod(ctx context.Context, dir string, r release) (*modfile.File, error) {
	result, err := run.Host{}.Run(ctx, run.Cmd{
		Argv: []string{"go", "mod", "download", "-json", r.Module + "@" + r.ModuleVersion},
		Env:  []string{"GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=local"},
		Dir:  dir,
	})
	var info struct{ GoMod, Error string }
	parseErr := json.Unmarshal([]byte(result.Stdout), &info)
	if err != nil {
		// With -json, the reason is in the answer and not on standard error.
		return nil, errors.Join(err, errors.New(info.Error))
	}
	if parseErr != nil {
		return nil, fmt.Errorf("reading the answer of go mod download: %w", parseErr)
	}
	text, err := os.ReadFile(info.GoMod)
	if err != nil {
		return nil, err
	}
	return modfile.Parse(info.GoMod, text, nil)
}

// pinnedGoMod is the module that requires a release and builds packages with
// the versions, the language version and the GODEBUG defaults that upstream
// builds them with: none of them are inherited from a dependency.
func pinnedGoMod(component string, r release, upstream *modfile.File, packages []string) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "module nodeimage.invalid/pin/%s\n\ngo %s\n\n", component, upstream.Go.Version)
	for _, g := range upstream.Godebug {
		fmt.Fprintf(&b, "godebug %s=%s\n", g.Key, g.Value)
	}
	fmt.Fprintf(&b, "\nrequire %s %s\n", r.Module, r.ModuleVersion)
	for _, pkg := range packages {
		fmt.Fprintf(&b, "tool %s\n", pkg)
		// Modules released together with the main one, at its version.
		if component == "etcd" {
			if pkg != r.Module {
				fmt.Fprintf(&b, "require %s %s\n", pkg, r.ModuleVersion)
			}
		}
	}
	required := map[string]string{}
	for _, req := range upstream.Require {
		required[req.Mod.Path] = req.Mod.Version
	}
	for _, rep := range upstream.Replace {
		if rep.New.Version != "" {
			fmt.Fprintf(&b, "replace %s => %s %s\n", strings.TrimSpace(rep.Old.Path+" "+rep.Old.Version), rep.New.Path, rep.New.Version)
			continue
		}
		// A directory of upstream's repository. Where that is a module that
		// is published under its own version, the version it is required in
		// is that one; v0.0.0 says that only the replacement counts.
		if required[rep.Old.Path] != "v0.0.0" && component != "kubernetes" {
			continue
		}
		version, err := stagingVersion(component, r)
		if err != nil {
			return nil, fmt.Errorf("replacing %s, a directory %s of upstream's repository: %w", rep.Old.Path, path.Clean(rep.New.Path), err)
		}
		fmt.Fprintf(&b, "replace %s => %s %s\n", rep.Old.Path, rep.Old.Path, version)
	}
	f, err := modfile.Parse("go.mod", b.Bytes(), nil)
	if err != nil {
		return nil, err
	}
	return f.Format()
}

// stagingVersion is the version under which the staging modules of a
// Kubernetes release are published: v0.37.2 for 1.37.2.
func stagingVersion(component string, r release) (string, error) {
	rest, ok := strings.CutPrefix(r.Version, "1.")
	if component != "kubernetes" || !ok {
		return "", fmt.Errorf("no published version of it is known for %s %s", component, r.Version)
	}
	return "v0." + rest, nil
}
