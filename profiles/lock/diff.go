package lock

import (
	"fmt"
	"slices"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
)

// DiffPackages says in which packages a system is not what the lock names, a
// line each: what is missing, what is there in another version, and what is there
// and not in the lock.
func (l *Lock) DiffPackages(installed []manifest.Package) []string {
	have := map[string][]manifest.Package{}
	for _, p := range installed {
		have[p.Name] = append(have[p.Name], p)
	}
	var lines []string
	locked := slices.Clone(l.Packages)
	for _, p := range l.Base.CloudImage.Packages {
		locked = append(locked, Package{Name: p.Name, Version: p.Version, Arch: p.Arch})
	}
	for _, want := range locked {
		found := have[want.Name]
		delete(have, want.Name)
		exact := func(p manifest.Package) bool { return p.Version == want.Version && p.Arch == want.Arch }
		if len(found) == 0 {
			lines = append(lines, fmt.Sprintf("package %s: found none, expected %s (%s)", want.Name, want.Version, want.Arch))
		}
		for _, p := range found {
			if !exact(p) || len(found) > 1 {
				lines = append(lines, fmt.Sprintf("package %s: found %s (%s), expected %s (%s) alone", want.Name, p.Version, p.Arch, want.Version, want.Arch))
			}
		}
	}
	for name, found := range have {
		for _, p := range found {
			lines = append(lines, fmt.Sprintf("package %s: found %s (%s), expected none: it is not in the lock", name, p.Version, p.Arch))
		}
	}
	slices.Sort(lines)
	return lines
}
