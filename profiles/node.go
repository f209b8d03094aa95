package profiles

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxDepth bounds nesting. A profile is five levels deep.
const maxDepth = 16

// node is a YAML value that remembers which file it came from, also after
// merging.
type node struct {
	kind  yaml.Kind // mapping, sequence or scalar
	tag   string    // !!str, !!int, !!bool, !!null …
	text  string    // of a scalar
	at    position
	pairs []pair  // of a mapping, in the order of the file
	items []*node // of a sequence
}

type pair struct {
	key   string
	keyAt position
	val   *node
}

type position struct {
	file         string
	line, column int
}

func (at position) problem(path, format string, args ...any) Problem {
	return Problem{at.file, at.line, at.column, path, fmt.Sprintf(format, args...)}
}

// value returns the value of a key of a mapping, or nil.
func (n *node) value(key string) *node {
	if n == nil {
		return nil
	}
	for _, p := range n.pairs {
		if p.key == key {
			return p.val
		}
	}
	return nil
}

func scalar(n *node) string {
	if n == nil {
		return ""
	}
	return n.text
}

// parse reads one document. What cannot be read as a plain tree (aliases,
// tags of one's own, keys that are no strings) is a problem; the rest of the
// tree is returned all the same, so that more can be said about it.
func parse(src source) (*node, Problems) {
	top := position{src.name, 1, 1}
	if len(src.data) > maxFileSize {
		return nil, Problems{top.problem("", "file too large: expected at most %d KiB", maxFileSize>>10)}
	}
	dec := yaml.NewDecoder(bytes.NewReader(src.data))
	var doc yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, Problems{top.problem("", "empty file: expected a %s", src.what())}
	}
	if err != nil {
		return nil, Problems{syntaxProblem(src.name, err)}
	}
	b := builder{file: src.name, hint: src.hint()}
	root := b.build(doc.Content[0], "", 0)
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case err == nil:
		b.problems = append(b.problems, position{src.name, max(second.Line, 1), max(second.Column, 1)}.problem("",
			"second document: expected one %s a file", src.what()))
	case !errors.Is(err, io.EOF):
		b.problems = append(b.problems, syntaxProblem(src.name, err))
	}
	if root != nil && root.kind != yaml.MappingNode {
		b.problems = append(b.problems, root.at.problem("", "found %s, expected a mapping", root.describe()))
		root = nil
	}
	return root, b.problems
}

// syntaxProblem takes the line out of yaml.v3's text, which has no field for
// it: the line where the broken construct begins.
func syntaxProblem(file string, err error) Problem {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	at := position{file: file, line: 1}
	if n, _ := fmt.Sscanf(msg, "line %d:", &at.line); n == 1 {
		_, msg, _ = strings.Cut(msg, ": ")
		// yaml.v3 counts lines from 0 when its parser, not its scanner, fails.
		for _, s := range []string{"node content", "'-' indicator", "key", "',' or ']'", "',' or '}'"} {
			if msg == "did not find expected "+s {
				at.line++
			}
		}
	}
	return at.problem("", "not YAML: %s", msg)
}

type builder struct {
	file     string
	hint     string // what to do instead of an alias
	problems Problems
}

func (b *builder) report(n *yaml.Node, path, format string, args ...any) {
	b.problems = append(b.problems, b.at(n).problem(path, format, args...))
}

func (b *builder) at(n *yaml.Node) position {
	return position{b.file, max(n.Line, 1), max(n.Column, 1)}
}

func (b *builder) build(n *yaml.Node, path string, depth int) *node {
	if depth > maxDepth {
		b.report(n, path, "nested too deep: expected at most %d levels", maxDepth)
		return nil
	}
	if n.Anchor != "" {
		b.report(n, path, "anchor &%s: anchors and aliases are not read; %s", n.Anchor, b.hint)
	}
	out := &node{kind: n.Kind, tag: n.ShortTag(), text: n.Value, at: b.at(n)}
	switch n.Kind {
	case yaml.ScalarNode:
	case yaml.SequenceNode:
		for i, item := range n.Content {
			if child := b.build(item, fmt.Sprintf("%s[%d]", path, i), depth+1); child != nil {
				out.items = append(out.items, child)
			}
		}
	case yaml.MappingNode:
		b.mapping(n, out, path, depth)
	case yaml.AliasNode:
		b.report(n, path, "alias *%s: anchors and aliases are not read; %s", n.Value, b.hint)
		return nil
	default:
		b.report(n, path, "found an unknown kind of YAML node")
		return nil
	}
	return out
}

func (b *builder) mapping(n *yaml.Node, out *node, path string, depth int) {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" {
			b.report(key, path, "found a key that is no string: expected a name%s", quoteHint(key))
			continue
		}
		at := join(path, key.Value)
		if line, seen := first[key.Value]; seen {
			b.report(key, at, "duplicate key: first given in line %d", line)
			continue
		}
		first[key.Value] = key.Line
		// A value that was refused keeps its key, so that it is not called missing too.
		out.pairs = append(out.pairs, pair{key.Value, b.at(key), b.build(val, at, depth+1)})
	}
}

func quoteHint(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!merge" && n.Value != "" {
		return fmt.Sprintf("; quote it: %q", n.Value)
	}
	return ""
}

// join appends a key to a path, in brackets where it would be misread.
func join(path, key string) string {
	if !plainKey(key) {
		return fmt.Sprintf("%s[%q]", path, key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func plainKey(key string) bool {
	for _, r := range key {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
			return false
		}
	}
	return key != ""
}

// describe says what a node is, for "found X, expected Y".
func (n *node) describe() string {
	switch {
	case n.kind == yaml.MappingNode:
		return "a mapping"
	case n.kind == yaml.SequenceNode:
		return "a list"
	case n.tag == "!!str" && n.text == "":
		return "an empty string"
	case n.tag == "!!str":
		return fmt.Sprintf("the string %q", clip(n.text))
	case n.tag == "!!null":
		return "nothing"
	case n.tag == "!!int", n.tag == "!!float":
		return "the number " + clip(n.text)
	case n.tag == "!!bool":
		return "the truth value " + n.text
	case n.tag == "!!timestamp":
		return "the date " + clip(n.text)
	}
	return fmt.Sprintf("a value tagged %s", clip(n.tag))
}

// clip keeps an error readable when the value is a page long.
func clip(s string) string {
	const most = 80
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most]) + "…"
}

// otherSource tells whether both are components, and over comes from another
// source than base. Nothing else in a profile has a key of that name.
func otherSource(base, over *node) bool {
	was, is := scalar(base.value("source")), scalar(over.value("source"))
	return was != "" && is != "" && was != is
}

// merge lays over on top of base: mappings key by key, anything else replaces.
// So does a component that comes from another source: what the base says about
// it is of no use to that source.
func merge(base, over *node) *node {
	if base == nil || over == nil || base.kind != yaml.MappingNode || over.kind != yaml.MappingNode || otherSource(base, over) {
		if over == nil {
			return base
		}
		return over
	}
	out := *over
	out.pairs = nil
	index := map[string]int{}
	for _, p := range base.pairs {
		index[p.key] = len(out.pairs)
		out.pairs = append(out.pairs, p)
	}
	for _, p := range over.pairs {
		i, inherited := index[p.key]
		if !inherited {
			out.pairs = append(out.pairs, p)
			continue
		}
		out.pairs[i] = pair{p.key, p.keyAt, merge(out.pairs[i].val, p.val)}
	}
	return &out
}
