package profiles

import (
	"regexp"
	"slices"
	"strings"
)

// System is what is known about a release of a distribution.
type System struct {
	Codename string `yaml:"codename" json:"codename"`
	// Kernels has, by kernel package, the version that the release has today.
	Kernels map[string]string `yaml:"kernels" json:"kernels"`
	// LabelledRunc are the paths that AppArmor's own profile `runc` attaches
	// to; none before AppArmor 4.
	LabelledRunc []string `yaml:"labelledRunc" json:"labelledRunc,omitempty"`
	Sources      []string `yaml:"sources" json:"sources"`
}

// SystemFault is a fault of a program's version that shows on some releases
// only: by their kernel, or by where AppArmor labels runc.
type SystemFault struct {
	Program string `yaml:"program" json:"program"` // the component
	Title   string `yaml:"title" json:"title"`
	// Fixed is the first release of each branch with the fix, ascending. A
	// branch below the first never got it, one above the last always had it.
	Fixed []string `yaml:"fixed" json:"fixed"`
	// From and Before are the kernels that it shows on; empty ends are open.
	From         string   `yaml:"kernelFrom" json:"kernelFrom,omitempty"`
	Before       string   `yaml:"kernelBefore" json:"kernelBefore,omitempty"`
	LabelledRunc bool     `yaml:"labelledRunc" json:"labelledRunc,omitempty"`
	Sources      []string `yaml:"sources" json:"sources"`
}

// KernelVersion returns the version of the profile's kernel, or false when it
// is not known what its package brings.
func (c *Compatibility) KernelVersion(p *Profile) (string, bool) {
	version, known := c.Systems[p.systemID()].Kernels[p.Kernel.Package]
	return version, known
}

// systemID is what the image's os-release will say: ubuntu-24.04.
func (p *Profile) systemID() string { return p.OS.Distribution + "-" + p.OS.Version }

var systemName = regexp.MustCompile(`^(debian|ubuntu)-[0-9]+(\.[0-9]+)?$`)

// systems checks the table's own entries.
func (v *validator) systems(c *Compatibility) {
	for _, name := range sortedKeys(c.Systems) {
		at, s := join("systems", name), c.Systems[name]
		if !systemName.MatchString(name) {
			v.reportKey(at, "found %s, expected ID and VERSION_ID of os-release, such as ubuntu-24.04", quote(name))
		}
		v.match(at+".codename", s.Codename, codename, "a release's code name, such as trixie")
		v.references(at, s.Sources)
		v.filled(at+".kernels", len(s.Kernels), "kernel package with its version")
		for _, pkg := range sortedKeys(s.Kernels) {
			v.match(join(at+".kernels", pkg), s.Kernels[pkg], branchName, "a kernel version such as \"6.8\"")
		}
		v.list(at+".labelledRunc", s.LabelledRunc, func(at, path string) { v.absolute(at, path, "a runc that AppArmor labels") })
	}
	for _, id := range sortedKeys(c.Faults) {
		at, f := join("faults", id), c.Faults[id]
		v.oneOf(at+".program", f.Program, []string{"containerd", "runc"})
		v.required(at+".title", f.Title, "what goes wrong, in words")
		v.filled(at+".fixed", len(f.Fixed), "release with the fix")
		v.patternList(at+".fixed", f.Fixed, upstreamVersion, "a version such as 1.7.16")
		if !slices.IsSortedFunc(f.Fixed, compareVersions) {
			v.report(at+".fixed", "found %s, expected them in ascending order", strings.Join(f.Fixed, ", "))
		}
		for key, kernel := range map[string]string{".kernelFrom": f.From, ".kernelBefore": f.Before} {
			if kernel != "" {
				v.match(at+key, kernel, branchName, "a kernel version such as \"6.17\"")
			}
		}
		v.references(at, f.Sources)
	}
}

// system refuses what is known to go wrong on the profile's own release of its
// distribution, with its kernel.
func (v *validator) system(p *Profile) {
	s, known := v.table.Systems[p.systemID()]
	if !known {
		return // no table can know every release; validate looks at the image itself
	}
	if p.OS.Codename != "" && p.OS.Codename != s.Codename {
		v.report("os.codename", "found %s, expected %q, which %s %s is called", quote(p.OS.Codename), s.Codename, p.OS.Distribution, p.OS.Version)
	}
	for _, id := range sortedKeys(v.table.Faults) {
		f := v.table.Faults[id]
		version := p.Components[f.Program].Version
		if version == "" || f.has(version) {
			continue
		}
		where := ""
		if f.LabelledRunc {
			if !slices.Contains(s.LabelledRunc, p.Runtime.RuncPath) || !slices.Contains(p.PackageList(), "apparmor") {
				continue
			}
			where = "with runc at " + p.Runtime.RuncPath + ", which AppArmor of " + p.systemID() + " labels"
		}
		if f.From != "" || f.Before != "" {
			kernel, known := s.Kernels[p.Kernel.Package]
			if !known || f.From != "" && compareVersions(kernel, f.From) < 0 || f.Before != "" && compareVersions(kernel, f.Before) >= 0 {
				continue
			}
			where = "on kernel " + kernel + ", which " + p.Kernel.Package + " of " + p.systemID() + " is"
		}
		remedy := "expected " + strings.Join(f.Fixed, ", ") + " or later in its branch"
		if f.LabelledRunc {
			remedy += ", or runtime.runcPath /usr/local/sbin/runc"
		}
		v.report("components."+f.Program+".version", "found %s %s: %s (%s); %s", quote(version), where, f.Title, id, remedy)
	}
}

// has tells whether a release has the fix.
func (f SystemFault) has(version string) bool {
	for _, fixed := range f.Fixed {
		if branch(fixed) == branch(version) {
			return compareVersions(version, fixed) >= 0
		}
	}
	last := f.Fixed[len(f.Fixed)-1]
	return compareVersions(version, last) > 0 && branch(version) != branch(last)
}
