package component

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// Options tell New how to work. The zero value is ready for use.
type Options struct {
	// Runner runs compilers, apt and the probes of what was built. Nil is
	// this host, in namespaces of its own when run by root, so that not even
	// SIGKILL leaves a compiler behind.
	Runner run.Runner
	// Logf gets a progress line before whatever takes long, and every
	// half minute while it does. Nil drops them.
	Logf func(format string, args ...any)
	// OmitTags names Go build tags, by component, that its recipe has and the
	// result shall not have: a runc without seccomp, to see that it is caught.
	OmitTags map[string][]string
	// Mirrors are settings HOST=URL, which win over those of the environment
	// variable NODEIMAGE_MIRRORS.
	Mirrors []string
	// Lock, when it is not nil, is what components have to be, byte for byte.
	Lock *lock.Lock
	// Offline makes what is not in the store an error.
	Offline bool
}

// Maker is the Resolver that makes what is not in the store yet.
type Maker struct {
	profile *profiles.Profile
	store   *store.Store
	runner  run.Runner
	logf    func(format string, args ...any)
	omit    map[string][]string
	sources map[string]source
	fetch   *fetch.Client
	lock    *lock.Lock
	offline bool
	// pauses lie between attempts to fetch: a proxy that failed once often
	// answers the next time.
	pauses []time.Duration

	toolsMu sync.Mutex
	tools   *toolchain
}

var _ Resolver = (*Maker)(nil)

// New returns a Maker for profile. It does no work yet, but reports, all at
// once, every component that could not be made: bad input.
func New(profile *profiles.Profile, s *store.Store, o Options) (*Maker, error) {
	m := &Maker{profile: profile, store: s, runner: o.Runner, logf: o.Logf, omit: o.OmitTags, lock: o.Lock, offline: o.Offline, sources: map[string]source{}, pauses: []time.Duration{2 * time.Second, 5 * time.Second}}
	if m.runner == nil {
		m.runner = run.Host{}
		if os.Geteuid() == 0 {
			m.runner = isolating{m.runner}
		}
	}
	if m.logf == nil {
		m.logf = func(string, ...any) {}
	}
	var err error
	m.fetch, err = fetch.FromEnvironment(fetch.Options{Dir: filepath.Join(s.Dir(), "downloads"), Logf: m.logf, Progress: transfers{console.NewTransfers(m.logf)}}, o.Mirrors...)
	errs := []error{err}
	for _, name := range slices.Sorted(maps.Keys(profile.Components)) {
		src, err := m.newSource(name, profile.Components[name])
		errs = append(errs, err)
		m.sources[name] = src
	}
	if err := errors.Join(errs...); err != nil {
		return nil, exitcode.BadInput(err)
	}
	return m, nil
}

// transfers shows downloads on the console.
type transfers struct{ *console.Transfers }

func (t transfers) Start(name string, total int64) fetch.Transfer { return t.Begin(name, total) }

// isolating runs every command in mount and process namespaces of its own.
type isolating struct{ run.Runner }

func (r isolating) Run(ctx context.Context, cmd run.Cmd) (run.Result, error) {
	cmd.Argv = run.Isolated(cmd.Argv...)
	return r.Runner.Run(ctx, cmd)
}

// entry is component.json of a store entry.
type entry struct {
	Record   manifest.Component `json:"record"`
	Files    []entryFile        `json:"files"`
	Packages []lock.Package     `json:"packages,omitempty"`
}

type entryFile struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

const entryName = "component.json"

// Component implements Resolver.
func (m *Maker) Component(ctx context.Context, name string) (Built, error) {
	src, ok := m.sources[name]
	if !ok {
		return Built{}, exitcode.BadInput(fmt.Errorf("the profile %s has no component %q: expected one of %v",
			m.profile.Name, name, slices.Sorted(maps.Keys(m.sources))))
	}
	if m.lock != nil {
		return m.locked(ctx, name, src)
	}
	return m.build(ctx, name, src)
}

// build makes the component from its source.
func (m *Maker) build(ctx context.Context, name string, src source) (Built, error) {
	parts, err := src.keyParts(ctx)
	if err != nil {
		return Built{}, fmt.Errorf("component %s: %w", name, err)
	}
	key, err := store.Key(append([]any{"component", name}, parts...)...)
	if err != nil {
		return Built{}, fmt.Errorf("component %s: %w", name, err)
	}
	dir, err := m.store.Do(ctx, key, func(ctx context.Context, dir string) error {
		return m.makeEntry(ctx, name, src, dir)
	})
	if err != nil {
		return Built{}, fmt.Errorf("component %s: %w", name, err)
	}
	built, err := readEntry(name, dir)
	if err != nil {
		return Built{}, fmt.Errorf("component %s: %w", name, err)
	}
	return built, nil
}

func (m *Maker) makeEntry(ctx context.Context, name string, src source, dir string) error {
	if err := os.Mkdir(filepath.Join(dir, filesDir), 0o755); err != nil {
		return err
	}
	start := time.Now()
	record, err := src.make(ctx, dir)
	if err != nil {
		return err
	}
	e := entry{Record: record}
	if d, ok := src.(*debs); ok {
		e.Packages = d.packages
	}
	found, err := os.ReadDir(filepath.Join(dir, filesDir))
	if err != nil {
		return err
	}
	var total int64
	for _, f := range found {
		file, err := describe(filepath.Join(dir, filesDir, f.Name()))
		if err != nil {
			return err
		}
		e.Files = append(e.Files, entryFile{f.Name(), file.SHA256, file.Size})
		total += file.Size
	}
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, entryName), append(text, '\n'), 0o644); err != nil {
		return err
	}
	m.logf("%s: ready after %s, %d files, %d MB", label(name, record.Version), time.Since(start).Round(time.Second), len(e.Files), total/1e6)
	return nil
}

func readEntry(name, dir string) (Built, error) {
	text, err := os.ReadFile(filepath.Join(dir, entryName))
	if err != nil {
		return Built{}, err
	}
	var e entry
	if err := json.Unmarshal(text, &e); err != nil {
		return Built{}, fmt.Errorf("reading %s: %w", filepath.Join(dir, entryName), err)
	}
	built := Built{Name: name, Version: e.Record.Version, Record: e.Record, Packages: e.Packages}
	for _, f := range e.Files {
		built.Files = append(built.Files, File{f.Name, filepath.Join(dir, filesDir, f.Name), f.SHA256, f.Size})
	}
	return built, nil
}

// describe returns the size and the sum of a file.
func describe(path string) (manifest.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return manifest.File{}, err
	}
	defer f.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	if err != nil {
		return manifest.File{}, err
	}
	return manifest.File{Path: path, SHA256: hex.EncodeToString(hash.Sum(nil)), Size: size}, nil
}

// All makes every component and image of the profile. Two at a time: Go's
// compiler fills the machine by itself, its linker does not.
func (m *Maker) All(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for _, name := range m.byCost() {
		group.Go(func() error {
			_, err := m.Component(groupCtx, name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	_, err := m.Images(ctx)
	return err
}

// byCost returns the names of all components, the one that takes longest first.
func (m *Maker) byCost() []string {
	names := slices.Sorted(maps.Keys(m.sources))
	if i := slices.Index(names, "kubernetes"); i > 0 {
		names = append([]string{"kubernetes"}, slices.Delete(names, i, i+1)...)
	}
	return names
}

// hostArch is Debian's name of the architecture this program was built for.
// For all that is supported it is Go's name as well.
func hostArch() string { return runtime.GOARCH }

// every calls report each interval until the returned function is called.
func every(interval time.Duration, report func(elapsed time.Duration)) (stop func()) {
	start := time.Now()
	ticker := time.NewTicker(interval)
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-ticker.C:
				report(time.Since(start).Round(time.Second))
			case <-done:
				return
			}
		}
	})
	return func() {
		ticker.Stop()
		close(done)
		wait.Wait()
	}
}

// sumOfFiles is one sum over the names and sums of files, in their order.
func sumOfFiles(files []manifest.File) string {
	hash := sha256.New()
	for _, f := range files {
		fmt.Fprintf(hash, "%s  %s\n", f.SHA256, f.Path)
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}
