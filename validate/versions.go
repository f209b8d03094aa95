package validate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/dpkg"
)

// vulnerable is one finding about all known holes of a program, nil without any.
func (n *Node) vulnerable(p program) ([]Finding, error) {
	if plain(p.Version) == "" {
		return nil, absent("the version of %s cannot be told", p.Path)
	}
	pkg, err := n.packageOf(p.Path)
	if err != nil {
		return nil, err
	}
	var holes, see, mended []string
	severity := Warning
	for _, v := range n.rules.Vulnerabilities {
		if v.Program != p.Name || has(v.Fixed, p.Version) || v.Introduced != "" && compare(p.Version, v.Introduced) < 0 {
			continue
		}
		state, known := v.inPackage(pkg)
		if known && state.Fixed {
			continue
		}
		holes = append(holes, fmt.Sprintf("%s: %s; fixed in %s", v.ID, v.Summary, strings.Join(v.Fixed, ", ")))
		see = append(see, "https://nvd.nist.gov/vuln/detail/"+v.ID)
		if known {
			see = append(see, n.rules.Sources[state.Source].URL)
		}
		mended = append(mended, v.Fixed...)
		if !v.Low && (known || pkg.Name == "") {
			severity = Error
		}
	}
	if len(holes) == 0 {
		return nil, nil
	}
	release, _, _ := strings.Cut(highest(mended), "-") // nobody wants a release candidate
	f := Finding{File: p.Path, Key: "version", Severity: severity, See: slices.Compact(see),
		Got:  p.Name + " " + p.Version + " with " + plural(len(holes), "known hole") + "\n" + strings.Join(holes, "\n"),
		Want: p.Name + " " + release + " or later, or a release of an older branch that has all the fixes",
	}
	if pkg.Name != "" {
		f.Got += fmt.Sprintf("\nit comes from package %s %s, which may carry fixes under the old number", pkg.Name, pkg.Version)
		f.Fix = "apt-get update && apt-get install --only-upgrade " + pkg.Name + "\napt-get changelog " + pkg.Name
	}
	return []Finding{f}, nil
}

// inPackage finds what was looked up about a distribution's package.
func (v Vulnerability) inPackage(p dpkg.Package) (PackageState, bool) {
	for _, s := range v.Packages {
		if s.Name == p.Name && strings.HasPrefix(p.Version, s.Version) {
			return s, true
		}
	}
	return PackageState{}, false
}

func highest(versions []string) string {
	return slices.MaxFunc(versions, compare)
}

// kernels are the releases that the node may run: the running one, or those
// installed in an image.
func (n *Node) kernels() ([]string, error) {
	if n.Live != nil {
		release, err := n.Live.Kernel()
		return []string{release}, err
	}
	c, err := n.modules()
	if err != nil {
		return nil, err
	}
	if len(c.Kernels) == 0 {
		return nil, absent("there is no kernel in it")
	}
	releases := make([]string, len(c.Kernels))
	for i, k := range c.Kernels {
		releases[i] = k.Release
	}
	slices.SortFunc(releases, func(a, b string) int { return cmp.Or(compare(a, b), cmp.Compare(a, b)) })
	return releases, nil
}

// kernelFault lists the kernels with which a version of a program has a fault.
func (n *Node) kernelFault(id, version string) (FaultRule, []string, error) {
	rule := n.rules.Faults[id]
	if has(rule.Fixed, version) {
		return rule, nil, nil
	}
	releases, err := n.kernels()
	if err != nil {
		return rule, nil, err
	}
	return rule, slices.DeleteFunc(releases, func(r string) bool { return !rule.Kernel.covers(r) }), nil
}

// versionKnown skips what has no such program, or one of unknown version.
func versionKnown(names ...string) func(*Node) (string, error) {
	return func(n *Node) (string, error) {
		for _, name := range names {
			p, err := n.program(name)
			if err != nil {
				return "", err
			}
			if plain(p.Version) == "" {
				return fmt.Sprintf("the version of %s cannot be told", p.Path), nil
			}
		}
		return "", nil
	}
}
