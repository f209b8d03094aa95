package pipeline

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/kubernetes"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/runtime"
)

// findLock returns the lock of a build, or nil when there is none.
func findLock(opts Options, p *profiles.Profile) (*lock.Lock, error) {
	l, err := lock.Find(opts.LockFile, opts.Profile)
	if err != nil {
		return nil, err
	}
	if l == nil {
		if opts.Offline {
			return nil, exitcode.BadInput(fmt.Errorf("an offline build needs a lock: name one with --lock, or make %s with `nodeimage lock`", lock.Beside(opts.Profile)))
		}
		return nil, nil
	}
	return l, l.For(p)
}

// useResolver makes the provisioners take components from where the build did.
func useResolver(stages []stage, resolver component.Resolver) {
	open := func(*profiles.Profile, string, func(string, ...any)) (component.Resolver, error) {
		return resolver, nil
	}
	for _, s := range stages {
		switch p := s.provisioner.(type) {
		case *runtime.Provisioner:
			p.Open = open
		case *kubernetes.Provisioner:
			p.Open = open
		}
	}
}

// checkImages compares the container images with the lock.
func (r *resolved) checkImages() error {
	if r.locked == nil {
		return nil
	}
	want := map[string]string{}
	for _, i := range r.locked.Images {
		want[i.Name] = i.Digest
	}
	var errs []error
	for _, i := range r.set.Images {
		if want[i.Name] != i.Digest {
			errs = append(errs, fmt.Errorf("container image %s: its parts give %s, and the lock says %q: make the lock again with this release of nodeimage", i.Name, i.Digest, want[i.Name]))
		}
		delete(want, i.Name)
	}
	for name := range want {
		errs = append(errs, fmt.Errorf("container image %s is in the lock, and the profile has none of that name", name))
	}
	return exitcode.BadInput(errors.Join(errs...))
}

// lock is the lock of what was resolved.
func (r *resolved) lock(ctx context.Context, p *profiles.Profile) (*lock.Lock, error) {
	l := &lock.Lock{Content: lock.Content{
		Profile: lock.Profile{Name: p.Name, SHA256: p.Hash(), Arch: p.OS.Arch},
		Base:    r.base.Record.Base, Releases: r.base.Record.Releases, Packages: r.base.Record.Packages,
	}}
	if n := len(r.base.Record.Kernels); n != 1 {
		return nil, exitcode.BadInput(fmt.Errorf("profile %s: kernel.package %s: found %d kernels in the base system, expected one", p.Name, p.Kernel.Package, n))
	}
	l.Kernel = r.base.Record.Kernels[0]
	for _, deb := range r.base.Packages {
		if deb.Name == "linux-image-"+l.Kernel.Release || deb.Name == "linux-image-unsigned-"+l.Kernel.Release {
			l.Kernel.Package = deb.Name
		}
	}
	for name := range p.Components {
		c, err := r.resolver.Locked(ctx, name)
		if err != nil {
			return nil, err
		}
		l.Components = append(l.Components, c)
	}
	l.Images = r.images()
	return l, nil
}

// images are the container images, as a lock names them.
func (r *resolved) images() []lock.Image {
	var list []lock.Image
	for _, i := range r.set.Images {
		list = append(list, lock.Image{Name: i.Name, Digest: i.Digest})
	}
	return list
}

// writeLock puts the lock of a build beside its image and returns its path. A
// locked build's is the lock that it was built from.
func (r *resolved) writeLock(ctx context.Context, opts Options, p *profiles.Profile, used *lock.Lock) (string, error) {
	l := used
	if l == nil {
		var err error
		if l, err = r.lock(ctx, p); err != nil {
			return "", err
		}
	}
	file := filepath.Join(opts.OutputDir, p.Name+lock.Suffix)
	return file, l.Write(file)
}

// Lock resolves a profile, as an unlocked build would, and returns its lock, with
// who signed each component whose upstream signs. It needs root, and leaves all
// that the lock names in the store.
func Lock(ctx context.Context, opts Options) (*lock.Lock, error) {
	p, err := profiles.Load(opts.Profile)
	if err != nil {
		return nil, err
	}
	b, _, err := prepare(opts)
	if err != nil {
		return nil, err
	}
	if err := b.CheckHost(ctx); err != nil {
		return nil, err
	}
	s, err := openStore(opts.CacheDir)
	if err != nil {
		return nil, err
	}
	client, err := fetchClient(opts, s)
	if err != nil {
		return nil, err
	}
	// Before anything is made: a signature that is wrong ends it at once.
	signed, err := component.Signers(ctx, p, client, component.Trust{})
	if err != nil {
		return nil, err
	}
	made, err := resolve(ctx, opts, p, s, nil, nil)
	if err != nil {
		return nil, err
	}
	l, err := made.lock(ctx, p)
	if err != nil {
		return nil, err
	}
	nameSigners(l, signed)
	return l, nil
}

// nameSigners writes into each component who signed its files.
func nameSigners(l *lock.Lock, signed []component.Signed) {
	for i := range l.Components {
		var by []string
		for _, file := range signed {
			if file.Component == l.Components[i].Name && !slices.Contains(by, file.By.String()) {
				by = append(by, file.By.String())
			}
		}
		slices.Sort(by)
		l.Components[i].Signer = strings.Join(by, ", ")
	}
}

// MoveLock is Lock for some components and packages alone: everything else stays
// as old has it. That the result gives a system is tried before it is returned.
func MoveLock(ctx context.Context, opts Options, old *lock.Lock, names []string) (*lock.Lock, error) {
	p, err := profiles.Load(opts.Profile)
	if err != nil {
		return nil, err
	}
	now, err := Lock(ctx, opts)
	if err != nil {
		return nil, err
	}
	moved, err := old.With(now, p, names)
	if err != nil {
		return nil, err
	}
	s, err := openStore(opts.CacheDir)
	if err != nil {
		return nil, err
	}
	made, err := resolveAll(ctx, opts, p, s, moved, nil)
	if err != nil {
		return nil, fmt.Errorf("only %s moved: %w", strings.Join(names, ", "), err)
	}
	moved.Images = made.images()
	return moved, nil
}
