package profiles

import (
	"reflect"
	"strings"
)

// Document is a file of another kind in the profiles' strict YAML: unknown and
// repeated keys, wrong types and empty values are problems, all reported at
// once with file, line and column.
type Document struct {
	file    string
	decoder *decoder
}

// Decode fills into, a pointer to a struct of strings, booleans, positive
// whole numbers, lists, maps and such structs with yaml tags.
func Decode(file string, data []byte, into any) *Document {
	doc := &Document{file: file, decoder: newDecoder()}
	root, problems := parse(source{name: file, data: data})
	doc.decoder.problems = problems
	if root == nil {
		doc.decoder.refused[""] = true
		return doc
	}
	doc.decoder.decode(root, reflect.ValueOf(into).Elem(), "")
	return doc
}

// Refuse adds a problem with the value at path ("caught.validate.checks[0]"),
// where its nearest parent stands if it is missing. A value that was refused
// already gets no second problem.
func (doc *Document) Refuse(path, format string, args ...any) {
	d := doc.decoder
	at := position{doc.file, 1, 1}
	for p := path; ; p = p[:max(0, strings.LastIndexAny(p, ".["))] {
		if d.refused[p] {
			return
		}
		if found, ok := d.at[p]; ok {
			at = found
			break
		}
		if p == "" {
			break
		}
	}
	d.refuse(at, path, format, args...)
}

// Has tells whether the file has a value at path.
func (doc *Document) Has(path string) bool {
	_, ok := doc.decoder.at[path]
	return ok
}

// Err returns all Problems in the order of lines, or nil.
func (doc *Document) Err() error {
	if len(doc.decoder.problems) == 0 {
		return nil
	}
	doc.decoder.problems.sort()
	return doc.decoder.problems
}
