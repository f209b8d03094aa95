package lock

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The kinds of Change, in the order that they are listed in.
const (
	KindProfile   = "profile"
	KindBase      = "base"
	KindKernel    = "kernel"
	KindComponent = "component"
	KindImage     = "image"
	KindPackage   = "package"
	KindRelease   = "release"
)

// Change is one thing that two locks do not share.
type Change struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Old and New are versions, or sums where the version is the same; one that
	// is empty is not there.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}

func (c Change) String() string {
	switch {
	case c.Old == "":
		return fmt.Sprintf("+ %s %s %s", c.Kind, c.Name, c.New)
	case c.New == "":
		return fmt.Sprintf("- %s %s %s", c.Kind, c.Name, c.Old)
	}
	return fmt.Sprintf("~ %s %s %s -> %s", c.Kind, c.Name, c.Old, c.New)
}

// item is one thing of a lock: what people call it, and what decides.
type item struct{ kind, name, version, sum string }

func (l *Lock) items() []item {
	items := []item{
		{KindProfile, l.Profile.Name, short(l.Profile.SHA256), l.Profile.SHA256},
		{KindKernel, "kernel", l.Kernel.Release, l.Kernel.SHA256},
	}
	if image := l.Base.CloudImage; image.URL != "" {
		items = append(items, item{KindBase, "cloud image", image.URL, image.SHA256 + image.Signer})
		for _, p := range image.Packages {
			items = append(items, item{KindPackage, p.Name, p.Version, p.Arch})
		}
	}
	for _, c := range l.Components {
		sum := c.Sum + c.GoSum + c.Toolchain + c.Signer
		for _, f := range c.Files {
			sum += f.Name + f.SHA256
		}
		items = append(items, item{KindComponent, c.Name, cmp.Or(c.Version, c.Sum[:min(len(c.Sum), 19)]), sum})
	}
	for _, i := range l.Images {
		items = append(items, item{KindImage, i.Name, i.Digest[:min(len(i.Digest), 19)], i.Digest})
	}
	for _, p := range l.Packages {
		items = append(items, item{KindPackage, p.Name, p.Version, p.Arch + p.SHA256})
	}
	for _, c := range l.Components {
		for _, p := range c.Packages {
			items = append(items, item{KindPackage, c.Name + "/" + p.Name, p.Version, p.Arch + p.SHA256})
		}
	}
	for _, r := range l.Releases {
		items = append(items, item{KindRelease, r.URI + " " + r.Suite, r.Date, r.SHA256 + r.Signer})
	}
	return items
}

// Compare returns what changes from old to l, by kind and name. Equal locks
// have none.
func (l *Lock) Compare(old *Lock) []Change {
	kinds := []string{KindProfile, KindBase, KindKernel, KindComponent, KindImage, KindPackage, KindRelease}
	type key struct{ kind, name string }
	before := map[key]item{}
	for _, i := range old.items() {
		before[key{i.kind, i.name}] = i
	}
	var changes []Change
	for _, now := range l.items() {
		k := key{now.kind, now.name}
		was, there := before[k]
		delete(before, k)
		switch {
		case !there:
			changes = append(changes, Change{Kind: now.kind, Name: now.name, New: now.version})
		case was.version != now.version:
			changes = append(changes, Change{now.kind, now.name, was.version, now.version})
		case was.sum != now.sum:
			changes = append(changes, Change{now.kind, now.name, was.version + " (other content)", now.version})
		}
	}
	for _, was := range before {
		changes = append(changes, Change{Kind: was.kind, Name: was.name, Old: was.version})
	}
	slices.SortFunc(changes, func(a, b Change) int {
		if a.Kind != b.Kind {
			return slices.Index(kinds, a.Kind) - slices.Index(kinds, b.Kind)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return changes
}

// WriteChanges prints changes for people, a line each.
func WriteChanges(w io.Writer, changes []Change) error {
	if len(changes) == 0 {
		_, err := fmt.Fprintln(w, "nothing differs")
		return err
	}
	for _, c := range changes {
		if _, err := fmt.Fprintln(w, c); err != nil {
			return err
		}
	}
	return nil
}
