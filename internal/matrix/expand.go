package matrix

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// MaxCells bounds a matrix.
const MaxCells = 50_000

// maxProblems is how many cells that cannot be are told of.
const maxProblems = 20

// Bases tells the state of a profile's archive as a digest, "" if it is not to
// be told.
type Bases func(ctx context.Context, p *profiles.Profile) (string, error)

// NoBases leaves the archives' state out of the cells' IDs.
func NoBases(context.Context, *profiles.Profile) (string, error) { return "", nil }

// combination is a cell before it is known to be possible.
type combination struct {
	profile                      string // as the file names it
	kubernetes, containerd, runc string // "" for the profile's own
	firmware                     string
	where                        string // of an include
}

// Expanded is a plan with the effective profiles of its cells.
type Expanded struct {
	Plan Plan
	// Bases are the archives' states by the profiles' names in the plan.
	Bases map[string]string
	// variants by their digest.
	variants map[string]*profiles.Profile
}

// Profile returns the effective profile of a cell of the plan.
func (e *Expanded) Profile(c Cell) *profiles.Profile { return e.variants[c.ProfileSHA256] }

// Expand makes the plan of a matrix. What cannot be is bad input: a version
// that is not pinned, versions that are not known to go together, and includes,
// excludes and known-bad entries that say nothing about any cell.
func (m *Matrix) Expand(ctx context.Context, tool Tool, bases Bases) (*Expanded, error) {
	e := expander{m: m, tool: tool, made: map[[4]string]*profiles.Profile{}, unknown: map[string]bool{},
		out: &Expanded{Bases: map[string]string{}, variants: map[string]*profiles.Profile{}}}
	if err := e.askBases(ctx, bases); err != nil {
		return nil, err
	}
	combinations, err := e.product()
	if err != nil {
		return nil, exitcode.BadInput(err)
	}
	e.cells(combinations)
	if e.failed != nil {
		return nil, e.failed
	}
	e.mark()
	if len(e.out.Plan.Cells) == 0 && len(e.problems) == 0 {
		e.bad("no cell is left: everything is excluded")
	}
	if n := len(e.problems); n > maxProblems {
		e.problems = append(e.problems[:maxProblems], fmt.Errorf("matrix %s: and %d more", m.Name, n-maxProblems))
	}
	if err := errors.Join(e.problems...); err != nil {
		return nil, exitcode.BadInput(err)
	}
	e.out.Plan.Matrix, e.out.Plan.Tool = m.Name, tool
	e.out.Plan.Seal()
	return e.out, nil
}

type expander struct {
	m        *Matrix
	tool     Tool
	out      *Expanded
	made     map[[4]string]*profiles.Profile // variants by profile and versions
	hashes   map[*profiles.Profile]string
	unknown  map[string]bool // problems with versions that were told
	problems []error
	failed   error // not the matrix's fault
}

func (e *expander) bad(format string, args ...any) {
	e.problems = append(e.problems, fmt.Errorf("matrix "+e.m.Name+": "+format, args...))
}

func (e *expander) askBases(ctx context.Context, bases Bases) error {
	asked := map[string]string{} // by archive: profiles share them
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(e.m.profiles)) {
		p := e.m.profiles[name]
		archive := digest(p.Archive)
		base, done := asked[archive]
		if !done {
			var err error
			if base, err = bases(ctx, p); err != nil {
				errs = append(errs, fmt.Errorf("base of the profile %s: %w", p.Name, err))
			}
			asked[archive] = base
		}
		e.out.Bases[p.Name] = base
	}
	return errors.Join(errs...)
}

// product lists every combination of the axes, then the includes.
func (e *expander) product() ([]combination, error) {
	m := e.m
	or := func(list []string, value string) []string {
		if len(list) == 0 {
			return []string{value}
		}
		return list
	}
	kubernetes, containerd, runc := or(m.Kubernetes, ""), or(m.Containerd, ""), or(m.Runc, "")
	firmware := or(m.Firmware, string(machine.SecureBoot))
	n := 1
	for _, axis := range [][]string{m.Profiles, kubernetes, containerd, runc, firmware} {
		// No overflow: a file has at most 256 KiB.
		if n *= len(axis); n > MaxCells {
			return nil, fmt.Errorf("matrix %s: more than %d cells", m.Name, MaxCells)
		}
	}
	var all []combination
	archs := map[string]bool{}
	for _, p := range m.Profiles {
		arch := m.profiles[p].OS.Arch
		archs[arch] = true
		if len(m.Arch) > 0 && !slices.Contains(m.Arch, arch) {
			continue
		}
		for _, k := range kubernetes {
			for _, c := range containerd {
				for _, r := range runc {
					for _, f := range firmware {
						all = append(all, combination{profile: p, kubernetes: k, containerd: c, runc: r, firmware: f})
					}
				}
			}
		}
	}
	for i, in := range m.Include {
		archs[m.profiles[in.Profile].OS.Arch] = true
		all = append(all, combination{in.Profile, in.Kubernetes, in.Containerd, in.Runc, cmp.Or(in.Firmware, firmware[0]), fmt.Sprintf("include[%d]", i)})
	}
	for _, a := range m.Arch {
		if !archs[a] {
			e.bad("arch: no profile is for %s", a)
		}
	}
	return all, nil
}

// cells turns combinations into cells. Those that are excluded need not be
// possible.
func (e *expander) cells(all []combination) {
	used := make([]bool, len(e.m.Exclude))
	taken := map[string]string{}
	e.hashes = map[*profiles.Profile]string{}
	for _, c := range all {
		base := e.m.profiles[c.profile]
		own := func(v, component string) string { return cmp.Or(v, base.Components[component].Version) }
		cell := Cell{
			Profile: base.Name, OS: base.OS.Distribution + "-" + base.OS.Version, Arch: base.OS.Arch, Firmware: c.firmware,
			Kubernetes: own(c.kubernetes, "kubernetes"), Containerd: own(c.containerd, "containerd"), Runc: own(c.runc, "runc"),
			Base: e.out.Bases[base.Name], Suite: e.m.suite(),
		}
		if c.where == "" && e.excluded(cell, used) {
			continue
		}
		if first, twice := taken[cell.name()]; twice {
			if c.where != "" {
				e.bad("%s: the cell %s is there already, by %s", c.where, cell.name(), first)
			}
			continue
		}
		taken[cell.name()] = cmp.Or(c.where, "the axes")
		p := e.variant(base, cell)
		if p == nil {
			continue
		}
		if _, ok := e.hashes[p]; !ok {
			e.hashes[p] = p.Hash()
			e.out.variants[e.hashes[p]] = p
		}
		cell.ProfileSHA256 = e.hashes[p]
		cell.Identify(e.tool)
		e.out.Plan.Cells = append(e.out.Plan.Cells, cell)
	}
	for i, x := range e.m.Exclude {
		if !used[i] {
			e.bad("exclude[%d]: matches no cell of the axes (%s): mend it or take it away", i, x.Reason)
		}
	}
}

func (e *expander) excluded(c Cell, used []bool) bool {
	out := false
	for i, x := range e.m.Exclude {
		if x.Match.matches(c) {
			used[i], out = true, true
		}
	}
	return out
}

// variant makes the profile of a cell's versions, nil if there cannot be one.
// A profile whose own versions they are is taken as it is, so that it is the
// very image that `nodeimage build` makes.
func (e *expander) variant(base *profiles.Profile, c Cell) *profiles.Profile {
	key := [4]string{base.Name, c.Kubernetes, c.Containerd, c.Runc}
	if p, done := e.made[key]; done {
		return p
	}
	e.made[key] = nil
	changed := map[string]profiles.Component{}
	suffix, whole := "", true
	for _, axis := range []struct{ name, version, short string }{{"kubernetes", c.Kubernetes, "k"}, {"containerd", c.Containerd, "c"}, {"runc", c.Runc, "r"}} {
		if axis.version == base.Components[axis.name].Version {
			continue
		}
		suffix += "-" + axis.short + axis.version
		pins, err := e.pins(base, axis.name, axis.version)
		if err != nil {
			whole = false
			if !e.unknown[err.Error()] {
				e.unknown[err.Error()] = true
				e.bad("%w", err)
			}
		}
		maps.Copy(changed, pins)
	}
	switch {
	case !whole:
		return nil
	case suffix == "":
		e.made[key] = base
		return base
	}
	name := base.Name + suffix
	if len(name) > 63 { // what a profile may be called
		name = name[:50] + "-" + digest(name)[:12]
	}
	p, err := variant(base, name, changed)
	if err != nil && exitcode.Of(err) != exitcode.Usage {
		e.failed = errors.Join(e.failed, err)
		return nil
	}
	if err != nil {
		e.bad("cell %s cannot be: %s; exclude it, or choose other versions", c.name(), strings.ReplaceAll(err.Error(), "\n", "; "))
		return nil
	}
	e.made[key] = p
	return p
}

// pins are the components of a version of an axis.
func (e *expander) pins(base *profiles.Profile, axis, version string) (map[string]profiles.Component, error) {
	if pins, ok := e.m.Pins[axis][version]; ok {
		return pins, nil
	}
	own := base.Components[axis]
	if own.Source == profiles.SourceRelease {
		releases, err := profiles.LoadReleases()
		if err != nil {
			return nil, err
		}
		if _, known := releases.Files(axis, version); known {
			own.Version, own.Files = version, nil // filled in with the variant
			return map[string]profiles.Component{axis: own}, nil
		}
	}
	return nil, fmt.Errorf("%s %s is not the version of the profile %s, and nothing says where it comes from: add pins.%s[%q]", axis, version, base.Name, axis, version)
}

// mark puts known-bad entries to the cells that they mean.
func (e *expander) mark() {
	for i, k := range e.m.KnownBad {
		n := 0
		for j := range e.out.Plan.Cells {
			cell := &e.out.Plan.Cells[j]
			if !k.Match.matches(*cell) {
				continue
			}
			n++
			if cell.KnownBad != nil {
				e.bad("knownBad[%d]: the cell %s is known to be bad by an earlier entry (%s)", i, cell.Name, cell.KnownBad.Cause)
				continue
			}
			if !slices.Contains(cell.Suite.Stages, Stage(k.Stage)) {
				e.bad("knownBad[%d]: the suite does not have the stage %s", i, k.Stage)
				return
			}
			cell.KnownBad = &KnownBad{Cause: k.Cause, Stage: Stage(k.Stage), Tracker: k.Tracker, Reason: k.Reason, Expires: k.Expires}
		}
		if n == 0 {
			e.bad("knownBad[%d]: matches no cell (%s): mend it or take it away", i, k.Cause)
		}
	}
}
