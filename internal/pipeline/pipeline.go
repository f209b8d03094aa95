// Package pipeline runs the Packer builder and provisioners of this project
// in-process, in the order of the shipped template: the same code as under
// `packer build`, without Packer's binary.
package pipeline

import (
	"context"
	"errors"
	"fmt"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/builder"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/host"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/kubernetes"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/runtime"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/seal"
)

// Options says what to build and where to put it.
type Options struct {
	Profile   string   // built-in name or path
	OutputDir string   // where image and manifest appear
	CacheDir  string   // the store; empty for the default
	Formats   []string // overrides the profile's when not empty
	DiskSize  string   // overrides the profile's when not empty
	// Force rebuilds even if the outputs are already what they would become.
	Force bool
	// Mirrors are settings HOST=URL, which win over the environment's.
	Mirrors []string
	// LockFile is the lock to build; empty for the one beside the profile, if any.
	LockFile string
	// Offline builds from the store alone. It needs a lock.
	Offline bool
	UI      packersdk.Ui
}

// stage is a provisioner under the name templates use.
type stage struct {
	name        string
	provisioner packersdk.Provisioner
}

// stages returns fresh provisioners in the shipped template's order: the
// runtime before the preload that needs it, the seal last.
func stages() []stage {
	return []stage{
		{"nodeimage-host", new(host.Provisioner)},
		{"nodeimage-runtime", new(runtime.Provisioner)},
		{"nodeimage-kubernetes", new(kubernetes.Provisioner)},
		{"nodeimage-seal", new(seal.Provisioner)},
	}
}

// Build makes the image, or returns the files of the previous build when they
// are, byte for byte, what was made from the same inputs. It needs root. Errors
// carry an exit code (package exitcode).
func Build(ctx context.Context, opts Options) (Result, error) {
	p, err := profiles.Load(opts.Profile)
	if err != nil {
		return Result{}, err
	}
	locked, err := findLock(opts, p)
	if err != nil {
		return Result{}, err
	}
	limit, err := storeLimit()
	if err != nil {
		return Result{}, err
	}
	b, provisioners, err := prepare(opts)
	if err != nil {
		return Result{}, err
	}
	b.UseLock(locked, opts.Offline)
	b.UseMirrors(opts.Mirrors)
	if err := b.CheckHost(ctx); err != nil {
		return Result{}, err
	}
	s, err := openStore(opts.CacheDir)
	if err != nil {
		return Result{}, err
	}
	var there digests
	hashing, enough := context.WithCancel(ctx)
	defer enough()
	if !opts.Force {
		there = hashAhead(hashing, opts.OutputDir, p.Name)
	}
	go func() { _, _ = toolSHA256() }()
	images := new(ahead)
	defer images.stop()
	made, err := resolve(ctx, opts, p, s, locked, func(maker *component.Maker) { images.start(ctx, maker) })
	if err != nil {
		return Result{}, nameMissing(ctx, opts, s, locked, err)
	}
	key, err := made.key(opts, p)
	if err != nil {
		return Result{}, err
	}
	if !opts.Force {
		if done, ok := upToDate(s, key, there); ok {
			opts.UI.Say("nothing has changed since the last build")
			return done, nil
		}
		enough()
	}
	images.Resolver = made.resolver
	images.start(ctx, made.resolver)
	useResolver(provisioners, images)
	kept, err := made.layer(p, s)
	if err != nil {
		return Result{}, err
	}
	artifact, err := b.Run(ctx, opts.UI, &hook{stages: provisioners, layer: kept})
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			err = errors.Join(err, ctx.Err())
		}
		return Result{}, err
	}
	if artifact == nil {
		return Result{}, exitcode.Transient(errors.New("the builder returned neither an image nor an error"))
	}
	var written map[string]string
	if image, ok := artifact.(*builder.Artifact); ok {
		written = image.SHA256()
	}
	result := Result{ID: artifact.Id()}
	files := artifact.Files()
	switch file, err := made.writeLock(ctx, opts, p, locked); {
	case err != nil:
		opts.UI.Say("warning: no lock was written: " + err.Error())
	default:
		files = append(files, file)
	}
	if result.Files, result.SHA256, err = sums(files, written); err != nil {
		return Result{}, err
	}
	shrink(ctx, s, limit, opts.UI)
	return result, remember(s, key, result)
}

// openStore opens the store in dir, or in the default place.
func openStore(dir string) (*store.Store, error) {
	if dir == "" {
		var err error
		if dir, err = store.DefaultDir(); err != nil {
			return nil, exitcode.BadInput(err)
		}
	}
	return store.Open(dir)
}

// prepare hands builder and provisioners their configuration, the way
// Packer's core would, and reports every problem at once.
func prepare(opts Options) (*builder.Builder, []stage, error) {
	common := map[string]any{"profile": opts.Profile}
	if opts.CacheDir != "" {
		common["cache_directory"] = opts.CacheDir
	}
	config := map[string]any{"output_directory": opts.OutputDir, "packer_build_name": "nodeimage"}
	if len(opts.Formats) > 0 {
		config["formats"] = opts.Formats
	}
	if opts.DiskSize != "" {
		config["disk_size"] = opts.DiskSize
	}
	b := new(builder.Builder)
	_, warnings, err := b.Prepare(common, config)
	for _, w := range warnings {
		opts.UI.Say("warning: " + w)
	}
	problems := []error{err}
	provisioners := stages()
	for _, s := range provisioners {
		if err := s.provisioner.Prepare(common); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, nil, exitcode.BadInput(err)
	}
	return b, provisioners, nil
}

// hook is what Packer's core gives a builder: it runs the provisioners in order,
// or takes what the first of them make from the store.
type hook struct {
	stages []stage
	layer  *layer // nil to run them all
}

func (h *hook) Run(ctx context.Context, name string, ui packersdk.Ui, comm packersdk.Communicator, data any) error {
	if name != packersdk.HookProvision {
		return nil
	}
	generated, ok := data.(map[string]any)
	if !ok {
		generated = map[string]any{}
	}
	if h.layer == nil {
		return h.provision(ctx, ui, comm, generated, h.stages)
	}
	first := func() error { return h.provision(ctx, ui, comm, generated, h.stages[:layered]) }
	if err := h.layer.carry(ctx, ui, comm, first); err != nil {
		return err
	}
	return h.provision(ctx, ui, comm, generated, h.stages[layered:])
}

func (h *hook) provision(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator, generated map[string]any, stages []stage) error {
	for _, s := range stages {
		if err := ctx.Err(); err != nil {
			return err
		}
		ui.Say(s.name)
		if err := s.provisioner.Provision(ctx, ui, comm, generated); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}
