package component

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/debstore"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// LockedKey is the key of a locked component's store entry. It depends on what
// the component is, and neither on a compiler of this host nor on who signed it:
// the lock that a build leaves names no signer, and means the same files.
func LockedKey(c lock.Component) (string, error) {
	c.Signer = ""
	return store.Key("locked component", c)
}

// Locked returns what a lock says about a component of the profile.
func (m *Maker) Locked(ctx context.Context, name string) (lock.Component, error) {
	built, err := m.Component(ctx, name)
	if err != nil {
		return lock.Component{}, err
	}
	r := built.Record
	c := lock.Component{Name: name, Version: r.Version, Source: r.Source, From: r.Module, Sum: r.Sum, Toolchain: r.Toolchain, Packages: built.Packages}
	if g, ok := m.sources[name].(*goModule); ok {
		sum := sha256.Sum256([]byte(g.pin.GoSum))
		c.GoSum = hex.EncodeToString(sum[:])
	}
	for _, d := range r.Downloads {
		c.Downloads = append(c.Downloads, lock.Download{From: d.From, SHA256: d.SHA256, Size: int(d.Size)})
	}
	for _, f := range built.Files {
		c.Files = append(c.Files, lock.File{Name: f.Name, SHA256: f.SHA256, Size: int(f.Size)})
	}
	byName := func(a, b lock.Package) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(c.Packages, byName)
	slices.SortFunc(c.Files, func(a, b lock.File) int { return strings.Compare(a.Name, b.Name) })
	return c, nil
}

// locked returns a component that is what the lock says. It is made from its
// source where the store does not have it, and must then turn out the same.
func (m *Maker) locked(ctx context.Context, name string, src source) (Built, error) {
	want, ok := m.lock.Component(name)
	if !ok {
		return Built{}, exitcode.BadInput(fmt.Errorf("component %s is not in the lock: run `nodeimage lock --update %s`", name, name))
	}
	key, err := LockedKey(want)
	if err != nil {
		return Built{}, fmt.Errorf("component %s: %w", name, err)
	}
	dir, err := m.store.Do(ctx, key, func(ctx context.Context, dir string) error {
		if len(want.Packages) > 0 {
			return m.lockedDebs(ctx, want, dir)
		}
		if m.offline {
			return exitcode.BadInput(fmt.Errorf("version %s of the lock is not in the store and nothing is made offline: build once with a network and the same store", cmp.Or(want.Version, want.Sum)))
		}
		built, err := m.build(ctx, name, src)
		if err != nil {
			return err
		}
		if err := sameFiles(want, built); err != nil {
			return err
		}
		return CopyEntry(filepath.Dir(filepath.Dir(built.Files[0].Path)), dir)
	})
	if err != nil {
		return Built{}, fmt.Errorf("component %s: %w", name, err)
	}
	built, err := readEntry(name, dir)
	if err != nil {
		return Built{}, fmt.Errorf("component %s: %w", name, err)
	}
	return built, sameFiles(want, built)
}

// sameFiles says in which files a component is not what the lock says.
func sameFiles(want lock.Component, built Built) error {
	have := map[string]File{}
	for _, f := range built.Files {
		have[f.Name] = f
	}
	var errs []error
	for _, f := range want.Files {
		found, ok := have[f.Name]
		delete(have, f.Name)
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("file %s: found none, expected sha256 %s", f.Name, f.SHA256))
		case found.SHA256 != f.SHA256:
			errs = append(errs, fmt.Errorf("file %s: found sha256 %s, expected %s", f.Name, found.SHA256, f.SHA256))
		}
	}
	for name := range have {
		errs = append(errs, fmt.Errorf("file %s: found it, expected none", name))
	}
	if len(errs) == 0 {
		return nil
	}
	hint := "make the lock again with `nodeimage lock --update " + want.Name + "`"
	if want.Toolchain != "" && built.Record.Toolchain != want.Toolchain {
		hint = fmt.Sprintf("the lock was made with %s and this host has %s: use that one, import a bundle, or %s", want.Toolchain, built.Record.Toolchain, hint)
	}
	return exitcode.BadInput(fmt.Errorf("component %s is not what the lock says: %w: %s", want.Name, errors.Join(errs...), hint))
}

// lockedDebs fills dir with a deb component's packages, from the store or the
// archive, without asking apt what they are.
func (m *Maker) lockedDebs(ctx context.Context, want lock.Component, dir string) error {
	var from debstore.Fetch
	if !m.offline {
		from = debstore.From(m.fetch, m.profile, m.lock)
	}
	if err := debstore.Gather(ctx, m.store, from, want.Packages); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, filesDir), 0o755); err != nil {
		return err
	}
	e := entry{Packages: want.Packages}
	e.Record = manifest.Component{Name: want.Name, Version: want.Version, Source: string(profiles.SourceDeb), Sum: want.Sum}
	for _, f := range want.Files {
		blob, ok := m.store.Blob(f.SHA256)
		if !ok {
			return exitcode.BadInput(fmt.Errorf("file %s of the lock is none of its packages: make the lock again", f.Name))
		}
		if err := store.CopyFile(blob, filepath.Join(dir, filesDir, f.Name)); err != nil {
			return err
		}
		e.Files = append(e.Files, entryFile{f.Name, f.SHA256, int64(f.Size)})
		e.Record.Files = append(e.Record.Files, manifest.File{Path: f.Name, SHA256: f.SHA256, Size: int64(f.Size)})
	}
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, entryName), append(text, '\n'), 0o644)
}

// CopyEntry copies a component's entry, whose files are not changed any more.
func CopyEntry(from, to string) error {
	if err := os.Mkdir(filepath.Join(to, filesDir), 0o755); err != nil {
		return err
	}
	var names []string
	for _, sub := range []string{"", filesDir} {
		found, err := os.ReadDir(filepath.Join(from, sub))
		if err != nil {
			return err
		}
		for _, f := range found {
			if f.Type().IsRegular() {
				names = append(names, filepath.Join(sub, f.Name()))
			}
		}
	}
	for _, name := range names {
		if err := store.CopyFile(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}
