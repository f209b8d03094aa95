// Package outdated says which components of a lock have newer releases upstream.
//
// All components are Go modules whose tags are their releases, so the list of a
// module proxy serves for those that come as release files and images, too.
package outdated

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/sync/errgroup"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// The states of a component.
const (
	Current  = "current"  // no newer release
	Outdated = "outdated" // Patch, Newest or both are newer
	Unknown  = "unknown"  // see Reason or Error
)

// Component is a locked component and what its upstream has released. Versions
// have no leading v; pre-releases are never among the newer ones.
type Component struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"` // the locked one
	// Modules are those whose lists were asked for.
	Modules []string `json:"modules,omitempty"`
	State   string   `json:"state"`
	// Patch is the newest release of the locked one's minor version, Newest that
	// of all. Where none is newer they are the locked version itself.
	Patch  string `json:"patch,omitempty"`
	Newest string `json:"newest,omitempty"`
	// Reason says why nothing could be asked; Error why nothing was answered.
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Versions lists the versions of a Go module, in any order.
type Versions func(ctx context.Context, module string) ([]string, error)

// parallel bounds how many lists are asked for at a time.
const parallel = 4

// Of asks for the releases of components and returns an answer for each, by
// name. A list that does not come is that component's Error and hides no other;
// the error of Of is an interrupt alone.
func Of(ctx context.Context, components []lock.Component, versions Versions) ([]Component, error) {
	answers := make([]Component, len(components))
	var modules []string
	for i, c := range components {
		answers[i] = ask(c)
		modules = append(modules, answers[i].Modules...)
	}
	slices.Sort(modules)
	modules = slices.Compact(modules)
	lists := make([][]string, len(modules))
	errs := make([]error, len(modules))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, m := range modules {
		group.Go(func() error {
			lists[i], errs[i] = versions(ctx, m)
			return nil
		})
	}
	_ = group.Wait() // of none
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for i := range answers {
		var all []string
		var err error
		for _, m := range answers[i].Modules {
			at := slices.Index(modules, m)
			releases := releasesOf(lists[at])
			all = append(all, releases...)
			switch {
			case err != nil:
			case errs[at] != nil:
				err = errs[at]
			case len(releases) == 0:
				err = fmt.Errorf("%s: its list has no release: expected one at least: check GOPROXY", m)
			}
		}
		answers[i].compare(all, err)
	}
	slices.SortFunc(answers, func(a, b Component) int { return strings.Compare(a.Name, b.Name) })
	return answers, nil
}

// ask says what to ask about a component, or why there is nothing to ask.
func ask(c lock.Component) Component {
	a := Component{Name: c.Name, Version: strings.TrimPrefix(c.Version, "v"), State: Unknown}
	switch {
	case c.Source == string(profiles.SourceDeb) || len(c.Packages) > 0:
		a.Reason = "it comes from the distribution's archive, which decides about its version"
	case c.Name == "pause":
		a.Reason = "no module lists its releases: it is a part of k8s.io/kubernetes with a version of its own"
	case a.Version == "":
		a.Reason = "the lock has no version of it"
	case !semver.IsValid("v" + a.Version):
		a.Reason = fmt.Sprintf("%q is no semantic version, such as 1.2.3, that releases could be compared with", a.Version)
	default:
		if a.Modules = modulesOf(c); len(a.Modules) == 0 {
			a.Reason = "no Go module with its releases is known"
		}
	}
	return a
}

// modulesOf returns the modules that a component's newer releases are in: where
// major versions have paths of their own, the locked one's and those after it.
func modulesOf(c lock.Component) []string {
	known := component.ModulesOf(c.Name)
	if c.Source == string(profiles.SourceGoModule) {
		if from, _, _ := strings.Cut(c.From, "@"); from != "" && !slices.Contains(known, from) {
			return []string{from} // a fork's releases are others
		}
	}
	locked := semver.Major("v" + strings.TrimPrefix(c.Version, "v"))
	return slices.DeleteFunc(known, func(path string) bool {
		_, major, _ := module.SplitPathVersion(path)
		return semver.Compare(cmp.Or(strings.TrimPrefix(major, "/"), "v1"), locked) < 0
	})
}

// releasesOf leaves out what is no release: pre-releases, and v2.0.0+incompatible,
// which is not of the module that has that major version.
func releasesOf(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(v string) bool {
		return !semver.IsValid(v) || semver.Prerelease(v) != "" || semver.Build(v) != ""
	})
}

// compare fills in what the lists say. A proxy may not know the locked release
// yet: what is older than that is never called newest.
func (c *Component) compare(releases []string, err error) {
	switch {
	case len(c.Modules) == 0:
		return
	case err != nil:
		c.Error = err.Error()
		return
	}
	locked := "v" + c.Version
	patch, newest := locked, locked
	for _, v := range releases {
		if semver.Compare(v, newest) > 0 {
			newest = v
		}
		if semver.MajorMinor(v) == semver.MajorMinor(locked) && semver.Compare(v, patch) > 0 {
			patch = v
		}
	}
	c.Patch, c.Newest, c.State = patch[1:], newest[1:], Current
	if newest != locked {
		c.State = Outdated
	}
}

// Write prints a line for each component that is not current.
func Write(w io.Writer, components []Component) error {
	for _, c := range components {
		if c.State == Current {
			continue
		}
		if _, err := fmt.Fprintf(w, "  component %s: %s\n", strings.TrimSpace(c.Name+" "+c.Version), c.finding()); err != nil {
			return err
		}
	}
	return nil
}

func (c Component) finding() string {
	switch {
	case c.Error != "":
		return "warning: newer releases are not known: " + c.Error
	case c.State == Unknown:
		return "newer releases are unknown: " + c.Reason
	case c.Patch == c.Version:
		return "none newer in its line, " + c.Newest + " newest"
	}
	return c.Patch + " in its line, " + c.Newest + " newest"
}
