package bisect

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// Unit is one difference of two documents that is taken over whole or not at all.
type Unit struct {
	// Name is where it is: components.runc, packages.curl.
	Name string `json:"name"`
	// Text is what changes, for people.
	Text  string `json:"text"`
	parts []part
}

// part is one place of a document and what BAD has there.
type part struct {
	at   []string   // keys, and names of list elements, from the top
	bad  *yaml.Node // nil if BAD has nothing there
	good *yaml.Node
}

// Documents are two documents of one kind, and in what they differ.
type Documents struct {
	good, bad *yaml.Node
	Units     []Unit
}

// Read reads two locks, profiles or manifests. Each needs to be one YAML (or
// JSON) document with a mapping on top.
func Read(good, bad []byte) (*Documents, error) {
	d := &Documents{}
	var err error
	if d.good, err = top(good); err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("GOOD: %w", err))
	}
	if d.bad, err = top(bad); err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("BAD: %w", err))
	}
	for _, key := range []string{"kind", "apiVersion", "schema"} {
		if g, b := scalar(d.good, key), scalar(d.bad, key); g != b {
			return nil, exitcode.BadInput(fmt.Errorf("GOOD has %s: %q, BAD has %q: want two documents of one kind", key, g, b))
		}
	}
	var parts []part
	compare(nil, d.good, d.bad, &parts)
	d.Units = bind(parts)
	return d, nil
}

func top(data []byte) (*yaml.Node, error) {
	var n yaml.Node
	if err := yaml.Unmarshal(data, &n); err != nil {
		return nil, err
	}
	if n.Kind != yaml.DocumentNode || len(n.Content) != 1 || n.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("want one mapping, as a lock or a profile is")
	}
	if anchors(&n) {
		return nil, fmt.Errorf("has anchors or aliases, which no lock or profile needs")
	}
	return n.Content[0], nil
}

func anchors(n *yaml.Node) bool {
	return n.Anchor != "" || n.Kind == yaml.AliasNode || slices.ContainsFunc(n.Content, anchors)
}

// child returns the value under key, nil without one.
func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func scalar(n *yaml.Node, key string) string {
	if c := child(n, key); c != nil && c.Kind == yaml.ScalarNode {
		return c.Value
	}
	return ""
}

// text is a node's canonical form: two nodes of one text are the same.
func text(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return fmt.Sprint(err)
	}
	b, err := yaml.Marshal(v) // sorts keys
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(b)
}

// pinned tells whether the keys of a mapping only mean something together: a
// version and its sum.
func pinned(n *yaml.Node) bool {
	for _, key := range []string{"version", "sum", "sha256", "digest", "source"} {
		if child(n, key) != nil {
			return true
		}
	}
	return false
}

// named returns the elements of a list by their names, in order, and whether
// it is a list in which each has one of its own.
func named(n *yaml.Node) (names []string, byName map[string]*yaml.Node, ok bool) {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil, nil, false
	}
	byName = map[string]*yaml.Node{}
	for _, e := range n.Content {
		name := scalar(e, "name")
		if name == "" || byName[name] != nil {
			return nil, nil, false
		}
		byName[name] = e
		names = append(names, name)
	}
	return names, byName, true
}

// compare collects the places in which two nodes differ, as deep as a place has
// a meaning of its own.
func compare(at []string, good, bad *yaml.Node, parts *[]part) {
	if good != nil && bad != nil && text(good) == text(bad) {
		return
	}
	if good != nil && bad != nil && good.Kind == yaml.MappingNode && bad.Kind == yaml.MappingNode && !pinned(good) && !pinned(bad) {
		var keys []string
		for _, n := range []*yaml.Node{good, bad} {
			for i := 0; i+1 < len(n.Content); i += 2 {
				if !slices.Contains(keys, n.Content[i].Value) {
					keys = append(keys, n.Content[i].Value)
				}
			}
		}
		for _, key := range keys {
			compare(append(slices.Clone(at), key), child(good, key), child(bad, key), parts)
		}
		return
	}
	inGood, goodByName, okGood := named(good)
	inBad, badByName, okBad := named(bad)
	if okGood && okBad {
		for _, name := range inBad {
			if goodByName[name] == nil {
				inGood = append(inGood, name)
			}
		}
		for _, name := range inGood {
			if g, b := goodByName[name], badByName[name]; text(g) != text(b) {
				*parts = append(*parts, part{append(slices.Clone(at), name), b, g})
			}
		}
		return
	}
	*parts = append(*parts, part{at, bad, good})
}

// bind makes units of places that only change together:
//
//   - packages that go from one and the same version to another: they are built
//     from one source, and depend on each other's exact version;
//   - the kernel and its packages;
//   - a container image and the component that it is made of, whose tag is part
//     of the image's name.
func bind(parts []part) []Unit {
	var units []Unit
	at := map[string]int{}
	for _, p := range parts {
		key := bond(p)
		i, ok := at[key]
		if !ok {
			i = len(units)
			at[key] = i
			units = append(units, Unit{Name: strings.Join(p.at, ".")})
		}
		units[i].parts = append(units[i].parts, p)
	}
	for i := range units {
		var texts []string
		for _, p := range units[i].parts {
			texts = append(texts, p.String())
		}
		units[i].Text = strings.Join(texts, "; ")
	}
	return units
}

// bond is the same for places that change together.
func bond(p part) string {
	own := strings.Join(p.at, "\x00")
	if len(p.at) == 0 {
		return own
	}
	last := p.at[len(p.at)-1]
	switch p.at[0] {
	case "kernel":
		if len(p.at) == 1 {
			return "kernel"
		}
	case "packages":
		if strings.HasPrefix(last, "linux-image-") {
			return "kernel"
		}
		if g, b := scalar(p.good, "version"), scalar(p.bad, "version"); g != b && g != "" && b != "" {
			return "packages\x00" + g + "\x00" + b
		}
	case "components":
		if len(p.at) == 2 {
			return "component\x00" + last
		}
	case "images", "containerImages":
		base, _, _ := strings.Cut(last[strings.LastIndex(last, "/")+1:], ":")
		if strings.HasPrefix(base, "kube-") {
			base = "kubernetes"
		}
		return "component\x00" + base
	}
	return own
}

// String says what changes at a place.
func (p part) String() string {
	name := strings.Join(p.at, ".")
	short := func(n *yaml.Node) string {
		if n == nil {
			return "nothing"
		}
		if n.Kind == yaml.ScalarNode {
			return n.Value
		}
		s := cmp.Or(scalar(n, "version"), scalar(n, "release"), scalar(n, "digest"), scalar(n, "sum"), scalar(n, "sha256"))
		if s == "" {
			s = strings.Join(strings.Fields(text(n)), " ")
		}
		if r := []rune(s); len(r) > 60 {
			s = string(r[:60]) + "…"
		}
		return s
	}
	g, b := short(p.good), short(p.bad)
	if g == b {
		b += " with another sum or content"
	}
	return fmt.Sprintf("%s: %s -> %s", name, g, b)
}

// Candidate is GOOD with the units of those numbers taken over from BAD.
func (d *Documents) Candidate(set []int) ([]byte, error) {
	doc := clone(d.good)
	for _, i := range set {
		for _, p := range d.Units[i].parts {
			if err := d.put(doc, p); err != nil {
				return nil, err
			}
		}
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(doc); err != nil {
		return nil, err
	}
	if err := e.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func clone(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, e := range n.Content {
		c.Content[i] = clone(e)
	}
	return &c
}

// put makes doc at one place what BAD is there.
func (d *Documents) put(doc *yaml.Node, p part) error {
	at := doc
	for _, key := range p.at[:len(p.at)-1] {
		if at = child(at, key); at == nil {
			return fmt.Errorf("%s: no %s in GOOD", strings.Join(p.at, "."), key)
		}
	}
	last := p.at[len(p.at)-1]
	if at.Kind == yaml.SequenceNode {
		i := slices.IndexFunc(at.Content, func(n *yaml.Node) bool { return scalar(n, "name") == last })
		switch {
		case p.bad == nil:
			at.Content = slices.Delete(at.Content, i, i+1)
		case i >= 0:
			at.Content[i] = clone(p.bad)
		default:
			// Where it sorts, in a list that is sorted.
			sorted := slices.IsSortedFunc(at.Content, byName)
			at.Content = append(at.Content, clone(p.bad))
			if sorted {
				slices.SortStableFunc(at.Content, byName)
			}
		}
		return nil
	}
	for i := 0; i+1 < len(at.Content); i += 2 {
		if at.Content[i].Value != last {
			continue
		}
		if p.bad == nil {
			at.Content = slices.Delete(at.Content, i, i+2)
		} else {
			at.Content[i+1] = clone(p.bad)
		}
		return nil
	}
	at.Content = append(at.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: last}, clone(p.bad))
	return nil
}

func byName(a, b *yaml.Node) int { return strings.Compare(scalar(a, "name"), scalar(b, "name")) }

// Kind is the kind that a document says it is of, "" if it says nothing.
func Kind(data []byte) string {
	n, err := top(data)
	if err != nil {
		return ""
	}
	return scalar(n, "kind")
}
