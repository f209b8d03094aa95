// Package faults holds what a node image can have wrong, as data, and shows
// that each fault is caught: offline by package validate, booted by the suite,
// at the stage and for the reason that the fault declares.
//
// A gate that nobody has seen fail is decoration. So a fault is judged in both
// directions: what must be red is red, nothing else is, and the unchanged
// image passes.
package faults

import (
	"regexp"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// The version and kind of a fault's file.
const (
	APIVersion = "nodeimage.dev/v1alpha1"
	Kind       = "Fault"
)

// Verdict is what a fault's image must get.
type Verdict string

// The verdicts. A Green fault looks like a fault and is none: its checks must
// run and pass, its specs too.
const (
	Red   Verdict = "red"
	Green Verdict = "green"
)

// Stage is where a fault is judged.
type Stage string

// The stages: offline over a view of the changed image, or in a machine that
// boots an image with the change in it.
const (
	StageValidate Stage = "validate"
	StageE2E      Stage = "e2e"
)

// Fault is one thing wrong with a node image.
type Fault struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	// ID is kebab-case and the name of the file.
	ID    string `yaml:"id"`
	Title string `yaml:"title"`
	// Why says what comes of it on a node, or why it does no harm.
	Why string `yaml:"why"`
	// See are issues (owner/repo#number) or https addresses.
	See    []string `yaml:"see"`
	Expect Verdict  `yaml:"expect"`
	Change Change   `yaml:"change"`
	Caught Caught   `yaml:"caught"`
}

// Change is what makes a good image bad, in this order.
type Change struct {
	// Components are replaced by other versions or builds, by name. Their
	// files take the places that the image's own records name.
	Components map[string]Component `yaml:"components"`
	// Files are written, edited and removed in the order of the list.
	Files []File `yaml:"files"`
	// Packages change what dpkg's status says, and no file else.
	Packages Packages `yaml:"packages"`
	// CommandLine are words added to every boot loader entry.
	CommandLine []string `yaml:"commandLine"`
}

// Component is a pinned component, or the image's own built otherwise.
type Component struct {
	Version string `yaml:"version"`
	Module  string `yaml:"module"`
	Sum     string `yaml:"sum"`
	// OmitTags are Go build tags that the recipe has and this build has not.
	OmitTags []string `yaml:"omitTags"`
}

// File is a change to one path. One of Content, CopyOf, Link, Directory,
// Remove, Edit and Append says which, or none when only Mode changes.
type File struct {
	Path string `yaml:"path"`
	// Content is a new file's, whole.
	Content string `yaml:"content"`
	// CopyOf is a file of the image whose content, mode and owner this gets.
	CopyOf string `yaml:"copyOf"`
	// Link is a new symbolic link's target.
	Link      string `yaml:"link"`
	Directory bool   `yaml:"directory"`
	// Remove takes the file away, or the whole directory.
	Remove bool `yaml:"remove"`
	// Edit replaces text of the file that is there; each must match.
	Edit []Edit `yaml:"edit"`
	// Append is added at the end of the file that is there.
	Append string `yaml:"append"`
	// Mode is in octal, as "0644"; by default a changed file keeps its own
	// and a new one gets 0644, a directory 0755.
	Mode string `yaml:"mode"`
}

// Edit replaces every match. One of Find, literally, and Regexp is given; With
// may hold ${1} for a regexp's groups and is empty by default.
type Edit struct {
	Find   string `yaml:"find"`
	Regexp string `yaml:"regexp"`
	With   string `yaml:"with"`
}

// Packages is what dpkg's status claims.
type Packages struct {
	Installed []Package `yaml:"installed"`
	Removed   []string  `yaml:"removed"`
}

// Package is one package that dpkg takes for installed.
type Package struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
}

// Caught says where and how a fault shows.
type Caught struct {
	Validate Validate `yaml:"validate"`
	E2E      E2E      `yaml:"e2e"`
}

// Validate is what the offline checks must say.
type Validate struct {
	// Checks must each be red, or pass if the fault is Green.
	Checks []string `yaml:"checks"`
	// Also may be red and must be: what else comes of the same change.
	Also []string `yaml:"also"`
	// Evidence is a regexp for a finding of one of Checks, as Line writes it.
	Evidence string `yaml:"evidence"`
}

// E2E is what the booted suite must say.
type E2E struct {
	// Specs are parts of the names of specs that run; the first must fail if
	// the fault is Red, and all must pass if it is Green.
	Specs []string `yaml:"specs"`
	// Labels further restrict the specs, in Ginkgo's language.
	Labels string `yaml:"labels"`
	// Cause is the ID that the report must name as certain or likely.
	Cause string `yaml:"cause"`
	// Evidence is a regexp for that cause's line.
	Evidence string `yaml:"evidence"`
	// Witness is what to see when the fault is let go on.
	Witness Witness `yaml:"witness"`
}

// Witness is what a fault shows in the end, minutes after it was proven.
type Witness struct {
	Specs    []string `yaml:"specs"`
	Evidence string   `yaml:"evidence"` // a regexp for any line that was noted
}

// In tells whether the fault declares anything for a stage.
func (f Fault) In(s Stage) bool {
	if s == StageE2E {
		return len(f.Caught.E2E.Specs) > 0
	}
	return len(f.Caught.Validate.Checks) > 0
}

// Stages lists the stages that the fault is judged at.
func (f Fault) Stages() []Stage {
	var all []Stage
	for _, s := range []Stage{StageValidate, StageE2E} {
		if f.In(s) {
			all = append(all, s)
		}
	}
	return all
}

// profileComponents replaces components of a profile by the fault's.
func (f Fault) profileComponents(p *profiles.Profile) map[string]profiles.Component {
	all := map[string]profiles.Component{}
	for name, c := range f.Change.Components {
		made := p.Components[name]
		if c.Version != "" {
			made = profiles.Component{Version: c.Version, Source: profiles.SourceGoModule, Module: c.Module, Sum: c.Sum}
		}
		all[name] = made
	}
	return all
}

func compile(expr string) *regexp.Regexp {
	if expr == "" {
		return nil
	}
	return regexp.MustCompile(expr) // the loader has tried it
}
