package lock

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// With returns the lock with only the named things moved to what they are in
// now: components by their names, packages of the root file system by theirs.
// What is of one kernel moves together: with the kernel's package, the kernel.
// Its images are those of now, which whoever calls this compares.
//
// A name that neither lock knows, and a component that profile p wants in another
// version and that is not named, are reported all at once, as bad input.
func (l *Lock) With(now *Lock, p *profiles.Profile, names []string) (*Lock, error) {
	merged := &Lock{Content: l.Content, file: l.file}
	merged.Profile, merged.Images = now.Profile, slices.Clone(now.Images)
	merged.Packages, merged.Components = slices.Clone(l.Packages), slices.Clone(l.Components)
	var errs []error
	if was, is := l.Base.CloudImage.SHA256, now.Base.CloudImage.SHA256; was != is {
		errs = append(errs, fmt.Errorf("the base is another one: everything moves with it: run `nodeimage lock --update` without names"))
	}
	packages := false
	for _, name := range names {
		isPackage := move(&merged.Packages, now.Packages, func(p Package) bool { return p.Name == name })
		isComponent := move(&merged.Components, now.Components, func(c Component) bool { return c.Name == name })
		packages = packages || isPackage
		switch {
		case !isPackage && !isComponent:
			errs = append(errs, fmt.Errorf("%s is no component and no package of %s: run `nodeimage lock %s --check` to see what can move", name, l.where(), now.Profile.Name))
		case isPackage && strings.HasPrefix(name, "linux-image-"):
			merged.Kernel = now.Kernel
		}
	}
	if packages {
		// They say how young what is in the image can be.
		merged.Releases = slices.Clone(now.Releases)
	}
	merged.Base.CloudImage.Packages = kept(l, now, merged.Packages)
	for _, c := range now.Components {
		have, ok := merged.Component(c.Name)
		if want := p.Components[c.Name].Version; ok && (want == "" || have.Version == want) {
			continue
		}
		errs = append(errs, fmt.Errorf("component %s: the profile wants %s, and the lock has %q: name it, too", c.Name, p.Components[c.Name].Version, have.Version))
	}
	merged.Components = slices.DeleteFunc(merged.Components, func(c Component) bool { _, ok := p.Components[c.Name]; return !ok })
	if err := errors.Join(errs...); err != nil {
		return nil, exitcode.BadInput(err)
	}
	return merged, nil
}

// kept are the packages of the image that both locks begin with, but for those
// that others take the place of.
func kept(l, now *Lock, packages []Package) []Installed {
	seen := map[string]bool{}
	for _, p := range packages {
		seen[p.Name] = true
	}
	var list []Installed
	for _, p := range append(slices.Clone(l.Base.CloudImage.Packages), now.Base.CloudImage.Packages...) {
		if !seen[p.Name] {
			seen[p.Name] = true
			list = append(list, p)
		}
	}
	return list
}

// move replaces what is of one name in list by what is of it in now, and tells
// whether either has it.
func move[T any](list *[]T, now []T, named func(T) bool) bool {
	before := len(*list)
	*list = slices.DeleteFunc(*list, named)
	gone := len(*list) < before
	for _, item := range now {
		if named(item) {
			*list = append(*list, item)
			return true
		}
	}
	return gone
}
