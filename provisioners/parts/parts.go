// Package parts gathers the component files that a plan places.
package parts

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

// Set holds ready components and images. A nil *Set means that none is known
// yet: a plan made with it names its component files instead of holding them.
type Set struct {
	Components map[string]component.Built
	Images     []component.Image
}

// Resolve gets the named components, and the images when they are wanted.
func Resolve(ctx context.Context, r component.Resolver, images bool, names ...string) (*Set, error) {
	set := &Set{Components: map[string]component.Built{}}
	built := make([]component.Built, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2) // what is not in the store yet gets compiled, which fills a machine
	for i, name := range names {
		g.Go(func() (err error) {
			built[i], err = r.Component(ctx, name)
			return err
		})
	}
	if images {
		g.Go(func() (err error) {
			set.Images, err = r.Images(ctx)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, name := range names {
		set.Components[name] = built[i]
	}
	return set, nil
}

// Label says in words what a component's file is, as plans print it.
func Label(p *profiles.Profile, name, file string) string {
	return fmt.Sprintf("%s %s: %s", name, p.Components[name].Version, file)
}

// File is the plan's file for one file of a component, at path with mode 0755.
func (s *Set) File(p *profiles.Profile, name, file, path string) (*plan.File, error) {
	f := &plan.File{Path: path, Mode: 0o755, Component: Label(p, name, file)}
	if s == nil {
		return f, nil
	}
	built, ok := s.Components[name]
	if !ok {
		return nil, fmt.Errorf("component %s was not resolved", name)
	}
	found, ok := built.File(file)
	if !ok {
		return nil, fmt.Errorf("component %s %s has no file %s", name, built.Version, file)
	}
	f.Source, f.SHA256 = found.Path, found.SHA256
	return f, nil
}

// Names lists a component's files, or fallback when they are not known yet.
func (s *Set) Names(name string, fallback []string) []string {
	if s == nil {
		return fallback
	}
	var names []string
	for _, f := range s.Components[name].Files {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return names
}

// Record is the manifest's entry of a component with the files that were
// placed: their path in the image by their name in the component.
func (s *Set) Record(name string, placed map[string]string) manifest.Component {
	built := s.Components[name]
	record := built.Record
	record.Files = nil
	for _, f := range built.Files {
		if path, ok := placed[f.Name]; ok {
			record.Files = append(record.Files, manifest.File{Path: path, SHA256: f.SHA256, Size: f.Size})
		}
	}
	slices.SortFunc(record.Files, func(a, b manifest.File) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	})
	return record
}
