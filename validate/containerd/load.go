package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// maxFiles bounds how many imports are followed.
const maxFiles = 256

// loader follows containerd's LoadConfig.
type loader struct {
	root fs.FS
	c    *Config

	version int   // of the merged configuration
	plugins *node // merged plugin sections, by the names of that version
	top     *node // merged top-level tables that matter here
	rest    *node // everything merged but plugins, for Config.Values
}

// Effective returns the configuration that containerd of the given version
// runs with when its command line names the file at path.
//
// What containerd itself refuses is not an error but Config.Refusal. An error
// means that the image could not be read, or that version is none.
func Effective(root fs.FS, path, version string) (*Config, error) {
	v, err := ParseVersion(version)
	if err != nil {
		return nil, err
	}
	c := &Config{
		Version: v,
		Path:    source.Path(path),
		Schema:  v.schema(),
		Extrapolated: v.Compare(oldestModelled) < 0 ||
			!(v.Major < newestModelled.Major || v.Major == newestModelled.Major && v.Minor <= newestModelled.Minor),
	}
	l := &loader{root: root, c: c, version: c.Schema, plugins: newTable("plugins", source.Position{}), top: newTable("", source.Position{}), rest: newTable("", source.Position{})}
	if v.Major < 2 {
		l.version = 1 // a file that says nothing is a version 1 file
	}
	if err := l.load(); err != nil {
		return nil, err
	}
	if c.Refusal == nil {
		l.finish()
	}
	l.decode()
	if c.Refusal == nil {
		l.validateCRI()
	}
	l.values()
	return c, nil
}

// load reads the main file and everything it imports, breadth first.
func (l *loader) load() error {
	var (
		loaded  = map[string]bool{}
		pending = []string{l.c.Path}
		first   = true
		// rootVersion is the first version that any file states: the check
		// of 2.3.0 compares with that one.
		rootVersion = 0
	)
	for len(pending) > 0 {
		p := pending[0]
		pending = pending[1:]
		if loaded[p] {
			continue
		}
		if len(loaded) == maxFiles {
			l.refuse(fmt.Sprintf("more than %d configuration files are imported", maxFiles), "imports", source.Position{File: l.c.Path})
			return nil
		}
		data, err := source.ReadFile(l.root, p, source.MaxFile)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if first && p == DefaultPath {
				return nil
			}
			l.refuse(fmt.Sprintf("open %s: no such file or directory", p), "", source.Position{File: p})
			return nil
		case err != nil:
			return err
		}
		if first {
			l.c.Present = true
		}
		doc, serr := parse(p, data)
		if serr != nil {
			l.refuse(l.syntaxText(p, serr), "", source.Position{File: p, Line: serr.line})
			return nil
		}
		if !l.checkTop(doc) {
			return nil
		}
		version := l.fileVersion(doc)
		l.c.Files = append(l.c.Files, File{Path: p, Version: version})
		if first {
			if n := l.lookup(doc, "version"); n != nil {
				l.c.FileVersion = Setting[int]{version, n.key, n.pos}
			}
		}
		if l.c.Version.refusesNewerDropIn() {
			if rootVersion == 0 {
				rootVersion = version
			}
			if version > rootVersion {
				n := l.lookup(doc, "version")
				l.refuse(fmt.Sprintf("drop-in config version %d higher than root config version %d", version, rootVersion), n.key, n.pos)
				return nil
			}
		}
		if !l.migrateFile(doc, version) {
			return nil
		}
		l.merge(doc)
		imports, ok := l.imports(p, doc)
		if !ok {
			return nil
		}
		loaded[p] = true
		pending = append(pending, imports...)
		first = false
	}
	return nil
}

func (l *loader) refuse(text, key string, pos source.Position) {
	if l.c.Refusal == nil {
		l.c.Refusal = &Fault{Text: text, Key: key, Pos: pos}
	}
}

func (l *loader) syntaxText(p string, e *syntaxError) string {
	if l.c.Version.Major < 2 {
		return fmt.Sprintf("failed to load TOML: %s: (%d, %d): %s", p, e.line, e.column, e.text)
	}
	return fmt.Sprintf("failed to unmarshal TOML at row %d column %d: %s", e.line, e.column, e.text)
}

// fileVersion is the version the file states. checkTop made sure of its type.
func (l *loader) fileVersion(doc *node) int {
	if n := l.lookup(doc, "version"); n != nil {
		if v, ok := n.value.(int64); ok && v >= -1 && v < 1<<31 {
			return int(v)
		}
	}
	return 0
}

// merge folds one file into the result.
func (l *loader) merge(doc *node) {
	if v := l.fileVersion(doc); v != 0 {
		l.version = v
	}
	for _, d := range []struct {
		key  string
		into *[]Setting[string]
	}{
		{"disabled_plugins", &l.c.DisabledPlugins},
		{"required_plugins", &l.c.RequiredPlugins},
		{"imports", &l.c.Imports},
	} {
		for _, s := range l.stringList(doc, d.key) {
			if l.c.Version.Major >= 2 && contains(*d.into, s.Value) {
				continue // 2.x adds only what is not there yet
			}
			*d.into = append(*d.into, s)
		}
	}
	for _, k := range []string{"root", "state"} {
		if n := l.lookup(doc, k); n != nil && n.value != "" {
			l.top.table[k] = n
		}
	}
	if g := l.lookup(doc, "grpc"); g.isTable() {
		if n := l.lookup(g, "address"); n != nil && n.value != "" {
			l.top.table["grpc.address"] = n
		}
	}
	for _, k := range doc.keys() {
		// These four add up or are sections, and are told otherwise.
		if !slices.Contains([]string{"plugins", "imports", "disabled_plugins", "required_plugins"}, strings.ToLower(k)) {
			l.rest.table[k] = mergeNodes(l.rest.table[k], doc.table[k])
		}
	}
	sections := l.lookup(doc, "plugins")
	if !sections.isTable() {
		return
	}
	for _, id := range sections.keys() {
		s := sections.table[id]
		if l.c.Version.Major < 2 {
			// mergeConfig of 1.x: "replace entire sections". The keys of the
			// section that was there are gone.
			if old := l.plugins.table[id]; old.isTable() {
				l.lost(old, s, id)
			}
			l.plugins.table[id] = s
			continue
		}
		l.plugins.table[id] = mergeNodes(l.plugins.table[id], s)
	}
}

// lost records the keys of a section that a drop-in's section throws away.
func (l *loader) lost(old, by *node, id string) {
	walkLeaves(old, func(n *node) {
		l.ignore(n, fmt.Sprintf("containerd %s replaces the whole section %s by the one in %s", l.c.Version, id, by.pos.File), false)
	})
}

func (l *loader) ignore(n *node, reason string, logged bool) {
	l.c.Ignored = append(l.c.Ignored, Ignored{Key: n.key, Pos: n.pos, Reason: reason, Logged: logged})
}

func walkLeaves(n *node, f func(*node)) {
	if !n.isTable() {
		f(n)
		return
	}
	for _, k := range n.keys() {
		walkLeaves(n.table[k], f)
	}
}

// mergeNodes is mergo's deep merge with overriding: tables key by key,
// everything else, empty values and lists included, is replaced.
func mergeNodes(to, from *node) *node {
	if !to.isTable() || !from.isTable() {
		return from.clone()
	}
	out := to.clone()
	for k, v := range from.table {
		out.table[k] = mergeNodes(out.table[k], v)
	}
	if len(from.table) > 0 && to.pos.IsDefault() {
		out.key, out.pos = from.key, from.pos
	}
	return out
}

// imports resolves the imports of the file at p, which only its own list decides.
func (l *loader) imports(p string, doc *node) ([]string, bool) {
	var out []string
	for _, s := range l.stringList(doc, "imports") {
		name := path.Clean(s.Value)
		glob := strings.Contains(name, "*")
		switch {
		case path.IsAbs(name):
		case glob && l.c.Version.Major < 2 && !l.c.Version.anchorsGlobs():
			// Taken from the working directory, which is / for a service.
			name = "/" + name
		default:
			name = path.Join(path.Dir(p), name)
		}
		if !glob {
			out = append(out, name)
			continue
		}
		ms, err := source.Glob(l.root, name)
		if err != nil {
			l.refuse("syntax error in pattern", s.Key, s.Pos)
			return nil, false
		}
		out = append(out, ms...)
	}
	return out, true
}

func (l *loader) stringList(doc *node, key string) []Setting[string] {
	n := l.lookup(doc, key)
	if n == nil {
		return nil
	}
	list, _ := n.value.([]any)
	var out []Setting[string]
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, Setting[string]{s, n.key, n.pos})
		}
	}
	return out
}

func contains(list []Setting[string], s string) bool {
	for _, e := range list {
		if e.Value == s {
			return true
		}
	}
	return false
}

// lookup finds a key the way the decoder of this containerd does. go-toml 1
// tries four spellings in order, go-toml 2 ignores case; where several
// spellings are present, the one that takes effect is returned.
func (l *loader) lookup(t *node, name string) *node {
	return lookup(t, name, l.c.Version.Major < 2)
}

func lookup(t *node, name string, v1 bool) *node {
	if !t.isTable() {
		return nil
	}
	if v1 {
		for _, k := range spellings(name) {
			if n := t.table[k]; n != nil {
				return n
			}
		}
		return nil
	}
	if n := t.table[name]; n != nil && len(t.table) == 1 {
		return n
	}
	var found *node
	for _, k := range t.keys() {
		// Sections are encoded again with sorted keys before they are
		// decoded, so the last spelling in that order wins.
		if strings.EqualFold(k, name) {
			found = t.table[k]
		}
	}
	return found
}

func spellings(name string) []string {
	return []string{name, strings.ToLower(name), strings.ToUpper(name), strings.ToLower(name[:1]) + name[1:]}
}
