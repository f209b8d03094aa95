package containerd

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// maxKeyDepth bounds dotted keys: the deepest key that any containerd knows
// has seven parts, and walking the tree recurses once a part.
const maxKeyDepth = 64

// node is one TOML value that remembers where it was written and under which
// key. Migrations move nodes about; what the report shows stays the original.
type node struct {
	table map[string]*node // nil unless a table
	value any              // string, int64, float64, bool, time or []any
	key   string           // as written, from the top of its file
	pos   source.Position
}

func newTable(key string, pos source.Position) *node {
	return &node{table: map[string]*node{}, key: key, pos: pos}
}

func (n *node) isTable() bool { return n != nil && n.table != nil }

// child returns the value under exactly this key, nil without one.
func (n *node) child(key string) *node {
	if n == nil {
		return nil
	}
	return n.table[key]
}

// sub returns the table under key, nil if there is none or it is no table.
func (n *node) sub(key string) *node {
	if c := n.child(key); c.isTable() {
		return c
	}
	return nil
}

func (n *node) keys() []string {
	if n == nil {
		return nil
	}
	ks := make([]string, 0, len(n.table))
	for k := range n.table {
		ks = append(ks, k)
	}
	sort.Strings(ks)
	return ks
}

// clone copies the tables, so that merging into them leaves n alone. Values
// are never changed in place and are shared.
func (n *node) clone() *node {
	if !n.isTable() {
		return n
	}
	c := newTable(n.key, n.pos)
	for k, v := range n.table {
		c.table[k] = v.clone()
	}
	return c
}

// typeName names the TOML type of n as the TOML specification does.
func (n *node) typeName() string {
	if n.isTable() {
		return "table"
	}
	switch n.value.(type) {
	case string:
		return "string"
	case int64:
		return "integer"
	case float64:
		return "float"
	case bool:
		return "boolean"
	case []any:
		return "array"
	}
	return "datetime"
}

// syntaxError is TOML that no containerd reads.
type syntaxError struct {
	line, column int
	text         string
}

func (e *syntaxError) Error() string { return e.text }

// parse reads one TOML file into a tree.
func parse(file string, data []byte) (*node, *syntaxError) {
	where, serr := positions(data)
	if serr != nil {
		return nil, serr
	}
	var doc map[string]any
	if err := toml.Unmarshal(data, &doc); err != nil {
		return nil, asSyntaxError(err)
	}
	return build(doc, "", "", file, where), nil
}

func asSyntaxError(err error) *syntaxError {
	var de *toml.DecodeError
	if errors.As(err, &de) {
		row, col := de.Position()
		return &syntaxError{row, col, de.Error()}
	}
	return &syntaxError{0, 0, err.Error()}
}

// positions maps each key path, its parts joined by NUL, to the line where it
// is first written. Elements of arrays of tables share the path of the array.
func positions(data []byte) (map[string]int, *syntaxError) {
	starts := []int{0}
	for i, b := range data {
		if b == '\n' {
			starts = append(starts, i+1)
		}
	}
	line := func(offset int) int { return sort.SearchInts(starts, offset+1) }

	where := map[string]int{}
	var p unstable.Parser
	p.Reset(data)
	prefix := ""
	depth := 0
	for p.NextExpression() {
		e := p.Expression()
		base, d := "", 0
		if e.Kind == unstable.KeyValue {
			base, d = prefix, depth
		}
		path, d, n, serr := walkKey(e.Key(), base, d, where, line)
		if serr != nil {
			return nil, serr
		}
		if e.Kind == unstable.Table || e.Kind == unstable.ArrayTable {
			prefix, depth = path, d
			continue
		}
		if serr := inline(e.Value(), path, d, where, line); serr != nil {
			serr.line = n
			return nil, serr
		}
	}
	if err := p.Error(); err != nil {
		var pe *unstable.ParserError
		if errors.As(err, &pe) {
			// The decoder words the same error with its position.
			var doc map[string]any
			if uerr := toml.Unmarshal(data, &doc); uerr != nil {
				return nil, asSyntaxError(uerr)
			}
		}
		return nil, &syntaxError{0, 0, err.Error()}
	}
	return where, nil
}

func walkKey(it unstable.Iterator, path string, depth int, where map[string]int, line func(int) int) (string, int, int, *syntaxError) {
	n := 0
	for it.Next() {
		k := it.Node()
		n = line(int(k.Raw.Offset))
		path = join(path, string(k.Data))
		if depth++; depth > maxKeyDepth {
			return "", 0, 0, &syntaxError{n, 0, fmt.Sprintf("keys are nested more than %d levels deep", maxKeyDepth)}
		}
		if _, ok := where[path]; !ok {
			where[path] = n
		}
	}
	return path, depth, n, nil
}

// inline records the keys of inline tables. Arrays hold no key that any
// containerd reads, so their content is not walked.
func inline(v *unstable.Node, path string, depth int, where map[string]int, line func(int) int) *syntaxError {
	if v.Kind != unstable.InlineTable {
		return nil
	}
	it := v.Children()
	for it.Next() {
		kv := it.Node()
		p, d, _, serr := walkKey(kv.Key(), path, depth, where, line)
		if serr != nil {
			return serr
		}
		if serr := inline(kv.Value(), p, d, where, line); serr != nil {
			return serr
		}
	}
	return nil
}

func join(path, key string) string {
	// A NUL cannot stand in a TOML key, so the joined path is unambiguous.
	return path + "\x00" + key
}

func build(v any, path, key, file string, where map[string]int) *node {
	pos := source.Position{File: file, Line: where[path]}
	m, ok := v.(map[string]any)
	if !ok {
		return &node{value: v, key: key, pos: pos}
	}
	t := newTable(key, pos)
	for k, c := range m {
		t.table[k] = build(c, join(path, k), dotted(key, k), file, where)
	}
	return t
}

// dotted appends k to a key as one writes it in a file.
func dotted(key, k string) string {
	if !bareKey(k) {
		k = strconv.Quote(k)
	}
	if key == "" {
		return k
	}
	return key + "." + k
}

func bareKey(k string) bool {
	return k != "" && strings.IndexFunc(k, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) < 0
}
