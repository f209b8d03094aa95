package profiles

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// decoder fills Go values from nodes, strictly, and records where every path
// stands so that later checks can point at it.
type decoder struct {
	problems Problems
	at       map[string]position // of values, by path
	keyAt    map[string]position // of keys, by path
	// refused are the paths that a problem was already reported for; nothing
	// more is said about them.
	refused map[string]bool
}

func newDecoder() *decoder {
	return &decoder{at: map[string]position{}, keyAt: map[string]position{}, refused: map[string]bool{}}
}

func (d *decoder) refuse(at position, path, format string, args ...any) {
	d.refused[path] = true
	d.problems = append(d.problems, at.problem(path, format, args...))
}

func (d *decoder) decode(n *node, into reflect.Value, path string) {
	if n == nil { // refused while parsing
		d.refused[path] = true
		return
	}
	d.at[path] = n.at
	mismatch := func(want string) { d.refuse(n.at, path, "found %s, expected %s", n.describe(), want) }
	switch into.Kind() {
	case reflect.Struct:
		if n.kind != yaml.MappingNode {
			mismatch("a mapping")
			return
		}
		d.structure(n, into, path)
	case reflect.Map:
		if n.kind != yaml.MappingNode {
			mismatch("a mapping")
			return
		}
		into.Set(reflect.MakeMap(into.Type()))
		for _, p := range n.pairs {
			at := join(path, p.key)
			d.keyAt[at] = p.keyAt
			val := reflect.New(into.Type().Elem()).Elem()
			d.decode(p.val, val, at)
			into.SetMapIndex(reflect.ValueOf(p.key), val)
		}
	case reflect.Slice:
		if n.kind != yaml.SequenceNode {
			mismatch("a list")
			return
		}
		into.Set(reflect.MakeSlice(into.Type(), len(n.items), len(n.items)))
		for i, item := range n.items {
			d.decode(item, into.Index(i), path+"["+strconv.Itoa(i)+"]")
		}
	case reflect.String:
		d.text(n, into, path)
	case reflect.Int:
		i, err := strconv.Atoi(n.text)
		if n.tag != "!!int" || err != nil || i < 1 {
			mismatch("a whole number of at least 1")
			return
		}
		into.SetInt(int64(i))
	case reflect.Bool:
		if n.tag != "!!bool" {
			mismatch("true or false")
			return
		}
		into.SetBool(strings.EqualFold(n.text, "true"))
	default:
		panic("profiles: no decoding for " + into.Type().String())
	}
}

func (d *decoder) text(n *node, into reflect.Value, path string) {
	switch {
	case n.kind == yaml.ScalarNode && n.tag == "!!str" && n.text != "",
		n.kind == yaml.ScalarNode && n.tag == "!!timestamp" && into.Type() == reflect.TypeFor[Date]():
		into.SetString(n.text)
	case n.kind == yaml.ScalarNode && n.tag != "!!str" && n.tag != "!!null" && strings.HasPrefix(n.tag, "!!"):
		d.refuse(n.at, path, "found %s, expected a string; quote it: %q", n.describe(), clip(n.text))
	default:
		d.refuse(n.at, path, "found %s, expected a string", n.describe())
	}
}

func (d *decoder) structure(n *node, into reflect.Value, path string) {
	fields := map[string]reflect.Value{}
	var names []string
	for i := range into.NumField() {
		name, _, _ := strings.Cut(into.Type().Field(i).Tag.Get("yaml"), ",")
		fields[name] = into.Field(i)
		names = append(names, name)
	}
	present := map[string]bool{}
	for _, p := range n.pairs {
		present[p.key] = true
	}
	absent := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return present[name] })
	for _, p := range n.pairs {
		at := join(path, p.key)
		field, known := fields[p.key]
		if known {
			d.keyAt[at] = p.keyAt
			d.decode(p.val, field, at)
			continue
		}
		guess := closest(p.key, absent)
		if guess == "" {
			d.refuse(p.keyAt, at, "unknown key; expected one of %s", strings.Join(names, ", "))
			continue
		}
		// Its absence has the same cause and needs no second message.
		d.refused[join(path, guess)] = true
		d.refuse(p.keyAt, at, "unknown key; did you mean %q?", guess)
	}
}
