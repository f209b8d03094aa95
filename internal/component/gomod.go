package component

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// goModule builds a component from its Go module, inside the small module
// that its pin is.
type goModule struct {
	maker  *Maker
	name   string
	rel    release
	pin    pin
	recipe recipe
}

// recipeFormat changes when what is done with a recipe changes.
const recipeFormat = "gomod/1"

func (m *Maker) newGoModule(name string, c profiles.Component) (source, error) {
	makeRecipe, ok := recipes()[name]
	if !ok {
		return nil, exitcode.BadInput(fmt.Errorf("component %s: cannot be built from a Go module: no recipe for it", name))
	}
	if arch := m.profile.OS.Arch; triplets()[arch] == "" {
		return nil, exitcode.BadInput(fmt.Errorf("component %s: cannot be built for %s: expected one of %s", name, arch, strings.Join(slices.Sorted(maps.Keys(triplets())), ", ")))
	}
	rel := release{Version: c.Version, Module: c.Module, ModuleVersion: c.GoModuleVersion(), Sum: c.Sum}
	p, err := readPin(pinFiles, name, rel)
	if err != nil {
		return nil, err
	}
	if err := p.checkSum(name, rel); err != nil {
		return nil, err
	}
	r, err := makeRecipe(rel).without(m.omit[name])
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("component %s: %w", name, err))
	}
	return &goModule{maker: m, name: name, rel: rel, pin: p, recipe: r}, nil
}

func (g *goModule) keyParts(ctx context.Context) ([]any, error) {
	t, err := g.maker.toolchain(ctx)
	if err != nil {
		return nil, err
	}
	parts := []any{recipeFormat, g.rel, g.recipe, g.pin, t.goVersion, t.goArch}
	if g.recipe.needsC() {
		c, err := g.maker.compilerParts(ctx, t, g.recipe.staticLibs())
		if err != nil {
			return nil, err
		}
		parts = append(parts, c)
	}
	return parts, nil
}

func (r recipe) staticLibs() []string {
	var libs []string
	for _, b := range r.Builds {
		libs = append(libs, b.StaticLibs...)
	}
	if r.C != nil {
		libs = append(libs, "libc.a")
	}
	slices.Sort(libs)
	return slices.Compact(libs)
}

func (g *goModule) make(ctx context.Context, dir string) (manifest.Component, error) {
	t, err := g.maker.toolchain(ctx)
	if err != nil {
		return manifest.Component{}, err
	}
	work := filepath.Join(dir, ".work")
	w := workspace{goModule: g, tools: t, module: filepath.Join(work, "module"), tmp: filepath.Join(work, "tmp"), out: filepath.Join(dir, filesDir)}
	if err := w.prepare(); err != nil {
		return manifest.Component{}, err
	}
	if err := w.fetch(ctx); err != nil {
		return manifest.Component{}, err
	}
	if err := w.compile(ctx); err != nil {
		return manifest.Component{}, err
	}
	if err := w.probe(ctx); err != nil {
		return manifest.Component{}, err
	}
	if err := os.RemoveAll(work); err != nil {
		return manifest.Component{}, err
	}
	return manifest.Component{
		Name:      g.name,
		Version:   g.rel.Version,
		Source:    string(profiles.SourceGoModule),
		Module:    g.rel.Module + "@" + g.rel.ModuleVersion,
		Sum:       g.rel.Sum,
		Toolchain: t.goVersion,
	}, nil
}

// workspace is one build in progress.
type workspace struct {
	*goModule
	tools            *toolchain
	module, tmp, out string // directories
}

func (w workspace) prepare() error {
	for _, dir := range []string{w.module, w.tmp} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(w.module, "go.mod"), []byte(w.pin.GoMod), 0o644),
		os.WriteFile(filepath.Join(w.module, "go.sum"), []byte(w.pin.GoSum), 0o644))
}

func (w workspace) run(ctx context.Context, b build, argv ...string) (run.Result, error) {
	return w.maker.runner.Run(ctx, run.Cmd{Argv: w.tools.command(b, w.tmp, argv), Dir: w.module})
}

// fetch downloads the modules that the build needs and then compares what lies
// in the module cache, which anybody may have touched since, with the sums.
func (w workspace) fetch(ctx context.Context) error {
	w.maker.logf("%s: fetching the sources", label(w.name, w.rel.Version))
	stop := every(30*time.Second, func(d time.Duration) {
		w.maker.logf("%s: still fetching, %s", label(w.name, w.rel.Version), d)
	})
	defer stop()
	pauses := w.maker.pauses
	for {
		err := w.fetchOnce(ctx)
		if err == nil || len(pauses) == 0 || exitcode.Of(err) != exitcode.Infrastructure || ctx.Err() != nil {
			return err
		}
		w.maker.logf("%s: fetching failed, trying again in %s: %v", label(w.name, w.rel.Version), pauses[0], err)
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(pauses[0]):
		}
		pauses = pauses[1:]
	}
}

func (w workspace) fetchOnce(ctx context.Context) error {
	if w.recipe.C != nil {
		_, err := w.run(ctx, build{}, "go", "mod", "download", w.rel.Module+"@"+w.rel.ModuleVersion)
		return w.explain(err)
	}
	for _, b := range w.recipe.Builds {
		argv := []string{"go", "list", "-mod=readonly", "-deps", "-tags=" + strings.Join(b.Tags, ","), "-f={{.ImportPath}}"}
		for _, bin := range b.Binaries {
			argv = append(argv, bin.Package)
		}
		if _, err := w.run(ctx, b, argv...); err != nil {
			return w.explain(err)
		}
	}
	_, err := w.run(ctx, build{}, "go", "mod", "verify")
	return w.explain(err)
}

func (w workspace) compile(ctx context.Context) error {
	w.maker.logf("%s: compiling %d programs with %s", label(w.name, w.rel.Version), len(w.recipe.programs()), w.tools.goVersion)
	stop := every(30*time.Second, func(d time.Duration) {
		w.maker.logf("%s: still compiling, %s", label(w.name, w.rel.Version), d)
	})
	defer stop()
	for _, b := range w.recipe.Builds {
		for _, argv := range b.commands(w.out) {
			if _, err := w.run(ctx, b, argv...); err != nil {
				return w.explain(err)
			}
		}
	}
	if w.recipe.C != nil {
		return w.compileC(ctx)
	}
	return nil
}

// checksumMismatch matches what the go command says about a module whose
// content is not the pinned one.
var checksumMismatch = regexp.MustCompile(`verifying (\S+)@(\S+?)(?:/go\.mod)?: checksum mismatch\s+downloaded: (\S+)\s+go\.sum:\s+(\S+)`)

// explain turns what the go command says into what can be done about it.
func (w workspace) explain(err error) error {
	var failed *run.Error
	if err == nil || !errors.As(err, &failed) {
		return err
	}
	text := failed.Result.Stderr + failed.Result.Stdout
	switch {
	case failed.Result.ExitCode == 127:
		return missingTool(err, failed.Argv[0], "install Go, "+w.tools.cPackages())
	case strings.Contains(text, "checksum mismatch"):
		if found := checksumMismatch.FindStringSubmatch(text); found != nil {
			return exitcode.BadInput(fmt.Errorf("sum of module %s %s does not match: expected %s, found %s as downloaded: the module proxy (%s) does not serve what was pinned",
				found[1], found[2], found[4], found[3], w.tools.fetch["GOPROXY"]))
		}
		return exitcode.BadInput(fmt.Errorf("a module is not what was pinned: %w", err))
	case strings.Contains(text, "has been modified ("):
		return exitcode.BadInput(fmt.Errorf("the module cache %s was modified: clean it with `go clean -modcache`: %w", w.tools.fetch["GOMODCACHE"], err))
	case strings.Contains(text, "requires go >="):
		return exitcode.BadInput(fmt.Errorf("%s is too old: install a newer Go: %w", w.tools.goVersion, err))
	case strings.Contains(text, "missing go.sum entry"), strings.Contains(text, "updates to go.mod needed"):
		return exitcode.BadInput(fmt.Errorf("the pin %s is not complete: generate it again with `go run ./internal/component/genpin`: %w",
			pinName(w.name, w.rel.ModuleVersion), err))
	}
	return exitcode.Transient(err)
}
