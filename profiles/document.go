package profiles

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"reflect"
)

// Document is a YAML file of another kind that is read as strictly as a
// profile: unknown keys, keys twice, aliases and values of another type are
// problems with their line.
type Document struct {
	v      *validator
	sum    [sha256.Size]byte
	unread bool // no value was read, so none can be wrong
}

// ReadDocument fills into, a pointer to a struct of strings, whole numbers from
// 1 on, truth values, lists, maps and structs with yaml tags. kind says in
// errors what the file should be. The file's problems are the Document's;
// Report adds what is wrong with the values.
func ReadDocument(file, kind string, data []byte, into any) *Document {
	src := source{name: file, data: data, kind: kind}
	root, problems := parse(src)
	d := newDecoder()
	d.problems = problems
	if root != nil {
		d.decode(root, reflect.ValueOf(into).Elem(), "")
	}
	return &Document{newValidator(d, file, nil), sha256.Sum256(data), root == nil}
}

// ReadDocumentFile is ReadDocument of a regular file of at most 256 KiB.
func ReadDocumentFile(path, kind string, into any) (*Document, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("reading the %s: %w", kind, err)
	}
	return ReadDocument(path, kind, data, into), nil
}

// readTable fills into from a file that comes with this program, and has check
// look at what was read. what is for errors.
func readTable(files fs.FS, name, what string, into any, check func(*validator)) error {
	data, err := fs.ReadFile(files, name)
	if err != nil {
		return fmt.Errorf("reading the %s: %w", what, err)
	}
	d := ReadDocument("profiles/"+name, "", data, into)
	if !d.unread {
		check(d.v)
	}
	return d.Err()
}

// Report adds a problem with the value at a path such as waivers[0].expires.
// Only the first about a path counts, and none below one that was refused.
func (d *Document) Report(path, format string, args ...any) {
	if !d.unread {
		d.v.report(path, format, args...)
	}
}

// SHA256 is the digest of the file's text, in hexadecimal.
func (d *Document) SHA256() string { return hex.EncodeToString(d.sum[:]) }

// Err is everything wrong with the document as Problems, in the order of the
// file, or nil.
func (d *Document) Err() error {
	if len(d.v.problems) == 0 {
		return nil
	}
	d.v.problems.sort()
	return d.v.problems
}

// Has tells whether the file has a value at path.
func (d *Document) Has(path string) bool {
	_, ok := d.v.at[path]
	return ok
}
