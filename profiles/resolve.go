package profiles

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// head is what one file says about itself; it is not inherited.
type head struct {
	APIVersion  string `yaml:"apiVersion"`
	Kind        string `yaml:"kind"`
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	Extends     string `yaml:"extends"`
	Abstract    bool   `yaml:"abstract"`
	// ByArch is read here for its mistakes; chain merges it.
	ByArch map[string]Difference `yaml:"byArch"`
}

// resolve turns the text of a profile into the effective profile.
func (r reader) resolve(src source) (*Profile, error) {
	c := r.chain(src)
	if c.tree == nil {
		c.problems.sort()
		return nil, c.problems
	}
	p := &Profile{
		APIVersion: c.head.APIVersion, Kind: c.head.Kind, Name: c.head.Name,
		Description: c.head.Description, Extends: c.head.Extends, Abstract: c.head.Abstract,
	}
	d := c.decoder
	d.decode(c.tree, reflect.ValueOf(p).Elem(), "")
	// With a base profile missing, everything it holds would be called missing too.
	if c.complete {
		table, err := r.compatibility()
		if err != nil {
			return nil, err
		}
		setDefaults(p)
		v := newValidator(d, src.name, table)
		v.profile(p)
	}
	if problems := append(c.problems, d.problems...); len(problems) > 0 {
		problems.sort()
		return nil, problems
	}
	return p, nil
}

// chain is a profile file with all it extends.
type chain struct {
	head     head
	tree     *node // merged, without what head holds; nil when the file cannot be read at all
	decoder  *decoder
	problems Problems
	complete bool // every base profile was found and read
}

// layer is what one file of a chain says about the image, and what it says
// about one architecture's alone.
type layer struct {
	all    *node
	byArch *node // nil without any, or with mistakes, which were reported
}

// chain parses src and all it extends, and merges them, the base lowest.
func (r reader) chain(src source) (c chain) {
	c = chain{decoder: newDecoder()}
	var layers []layer
	defer func() { c.tree = flatten(layers) }()
	var seen []string
	for {
		seen = append(seen, identity(src))
		n, bad := parse(src)
		c.problems = append(c.problems, bad...)
		if n == nil {
			return c
		}
		own, rest := split(n)
		d := c.decoder
		if layers != nil {
			d = newDecoder()
		}
		h := d.head(own, position{src.name, 1, 1})
		if layers == nil {
			c.head = h
		} else {
			c.problems = append(c.problems, d.problems...)
		}
		layers = append(layers, layer{rest, d.byArch(own)})
		if h.Extends == "" {
			// An extends that could not be read is no end of the chain.
			c.complete = !d.refused["extends"]
			return c
		}
		base, problem := r.next(src, h.Extends, seen)
		if problem != "" {
			d.refuse(d.at["extends"], "extends", "%s", problem)
			if d != c.decoder {
				c.problems = append(c.problems, d.problems[len(d.problems)-1])
			}
			return c
		}
		src = base
	}
}

// flatten merges the layers, of which the first is the topmost. Every file's own
// differences lie right above the rest of it, so that a file that extends it has
// the last word.
func flatten(layers []layer) *node {
	arch := ""
	for _, l := range layers {
		if arch = scalar(l.all.value("os").value("arch")); arch != "" {
			break
		}
	}
	var tree *node
	for _, l := range slices.Backward(layers) {
		tree = merge(tree, l.all)
		if difference := l.byArch.value(arch); difference != nil {
			tree = merge(tree, difference)
		}
	}
	return tree
}

// byArch returns the differences of a file by architecture, unless there is a
// mistake in them.
func (d *decoder) byArch(own *node) *node {
	const key = "byArch"
	n := own.value(key)
	if n == nil {
		return nil
	}
	for _, p := range n.pairs {
		if !slices.Contains(architecture, p.key) {
			d.refuse(p.keyAt, join(key, p.key), "unknown architecture; expected %s", choice(architecture))
		}
	}
	for path := range d.refused {
		if path == key || strings.HasPrefix(path, key+".") {
			return nil
		}
	}
	return n
}

// next finds the base profile called name, or says why there is none.
func (r reader) next(src source, name string, seen []string) (base source, problem string) {
	if !profileName.MatchString(name) {
		return base, "found " + quote(name) + ", expected the name of a profile, without a directory and without .yaml"
	}
	base, err := r.base(src, name)
	if err != nil {
		return base, err.Error()
	}
	id := identity(base)
	if i := slices.Index(seen, id); i >= 0 {
		return base, "profiles extend each other in a circle: " + strings.Join(append(slices.Clone(seen[i:]), id), " -> ")
	}
	if len(seen) > maxExtends {
		return base, fmt.Sprintf("too many base profiles: expected at most %d that extend one another", maxExtends)
	}
	return base, ""
}

func identity(src source) string { return filepath.ToSlash(filepath.Clean(src.name)) }

// split separates what a file says about itself from what it says about the image.
func split(n *node) (own, rest *node) {
	headType := reflect.TypeFor[head]()
	isOwn := func(key string) bool {
		for i := range headType.NumField() {
			if headType.Field(i).Tag.Get("yaml") == key {
				return true
			}
		}
		return false
	}
	o, r := *n, *n
	o.pairs, r.pairs = nil, nil
	for _, p := range n.pairs {
		if isOwn(p.key) {
			o.pairs = append(o.pairs, p)
		} else {
			r.pairs = append(r.pairs, p)
		}
	}
	return &o, &r
}

// head decodes and checks what each file of a chain must say about itself.
func (d *decoder) head(own *node, top position) head {
	var h head
	d.decode(own, reflect.ValueOf(&h).Elem(), "")
	for _, want := range []struct{ key, found, expected string }{
		{"apiVersion", h.APIVersion, APIVersion},
		{"kind", h.Kind, Kind},
	} {
		v := own.value(want.key)
		switch {
		case d.refused[want.key]:
		case v == nil:
			d.refuse(top, want.key, "missing: expected %q", want.expected)
		case want.found != want.expected:
			d.refuse(v.at, want.key, "found %s, expected %q", v.describe(), want.expected)
		}
	}
	return h
}
