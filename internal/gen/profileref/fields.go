package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strconv"
	"strings"
)

// section is one mapping of the file.
type section struct {
	path   string // runtime.handlers[]; "" for the top
	doc    string // what the Go type says, without its name
	fields []field
}

// field is one key.
type field struct {
	key  string
	kind string // what YAML wants to see: text, list of text, mapping…
	doc  string
	need string // "required", "", or the default as documented
}

// types are the struct and string types of one Go file, by name.
type types struct {
	byName map[string]*ast.TypeSpec
	// described has those that there is a section for: byArch repeats some.
	described map[string]bool
}

// sections walks the types from Profile on, in the order of the fields.
func sections(src []byte) ([]section, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "profile.go", src, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	known := types{map[string]*ast.TypeSpec{}, map[string]bool{}}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			if t, ok := spec.(*ast.TypeSpec); ok {
				if t.Doc == nil {
					t.Doc = gen.Doc
				}
				known.byName[t.Name.Name] = t
			}
		}
	}
	return known.walk("", "Profile")
}

func (known types) walk(path, name string) ([]section, error) {
	known.described[name] = true
	spec, ok := known.byName[name]
	if !ok {
		return nil, fmt.Errorf("type %s: not in the file", name)
	}
	body, ok := spec.Type.(*ast.StructType)
	if !ok {
		return nil, fmt.Errorf("type %s: expected a struct", name)
	}
	here := section{path: path, doc: sentence(spec.Doc, name)}
	var below []section
	for _, f := range body.Fields.List {
		key, err := yamlKey(f)
		if err != nil {
			return nil, fmt.Errorf("type %s: %w", name, err)
		}
		doc, need, err := split(text(f.Doc))
		if err != nil {
			return nil, fmt.Errorf("type %s: key %s: %w", name, key, err)
		}
		kind, inner, suffix, err := known.kind(f.Type)
		if err != nil {
			return nil, fmt.Errorf("type %s: key %s: %w", name, key, err)
		}
		here.fields = append(here.fields, field{key: key, kind: kind, doc: doc, need: need})
		if inner != "" && !known.described[inner] {
			more, err := known.walk(strings.TrimPrefix(path+"."+key, ".")+suffix, inner)
			if err != nil {
				return nil, err
			}
			below = append(below, more...)
		}
	}
	return append([]section{here}, below...), nil
}

// kind returns how a type is called in YAML, and the struct inside it with
// what stands between the key and that.
func (known types) kind(expr ast.Expr) (kind, inner, suffix string, err error) {
	switch t := expr.(type) {
	case *ast.Ident:
		switch t.Name {
		case "string":
			return "text", "", "", nil
		case "int":
			return "number", "", "", nil
		case "bool":
			return "true or false", "", "", nil
		}
		spec, ok := known.byName[t.Name]
		if !ok {
			return "", "", "", fmt.Errorf("type %s: not in the file", t.Name)
		}
		if _, isStruct := spec.Type.(*ast.StructType); isStruct {
			return "mapping", t.Name, "", nil
		}
		return known.kind(spec.Type)
	case *ast.ArrayType:
		kind, inner, suffix, err = known.kind(t.Elt)
		return "list of " + plural(kind), inner, "[]" + suffix, err
	case *ast.MapType:
		kind, inner, suffix, err = known.kind(t.Value)
		return "mapping of names to " + plural(kind), inner, ".NAME" + suffix, err
	}
	return "", "", "", fmt.Errorf("%T: no YAML name for this type", expr)
}

func plural(kind string) string {
	switch {
	case kind == "mapping":
		return "mappings"
	case strings.HasPrefix(kind, "list of "):
		return "lists of " + strings.TrimPrefix(kind, "list of ")
	}
	return kind
}

func yamlKey(f *ast.Field) (string, error) {
	if f.Tag == nil || len(f.Names) != 1 {
		return "", fmt.Errorf("a field without a name or tag")
	}
	tag, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return "", err
	}
	key, _, _ := strings.Cut(reflect.StructTag(tag).Get("yaml"), ",")
	if key == "" {
		return "", fmt.Errorf("field %s: no yaml tag", f.Names[0].Name)
	}
	return key, nil
}

// split takes the last sentence off, which says whether a key is needed.
func split(doc string) (rest, need string, err error) {
	for _, end := range []struct{ text, need string }{{"Required.", "required"}, {"Optional.", ""}} {
		if rest, ok := strings.CutSuffix(doc, end.text); ok {
			return strings.TrimSpace(rest), end.need, nil
		}
	}
	if i := strings.LastIndex(doc, "Default: "); i >= 0 && strings.HasSuffix(doc, ".") {
		return strings.TrimSpace(doc[:i]), strings.TrimSuffix(doc[i+len("Default: "):], "."), nil
	}
	return "", "", fmt.Errorf("comment %q: expected \"Required.\", \"Optional.\" or \"Default: X.\" at its end", doc)
}

func text(doc *ast.CommentGroup) string {
	if doc == nil {
		return ""
	}
	return strings.Join(strings.Fields(doc.Text()), " ")
}

// sentence turns "OS identifies the distribution" into "Identifies the
// distribution" and "Handler is one runtime" into "One runtime".
func sentence(doc *ast.CommentGroup, name string) string {
	s := strings.TrimPrefix(strings.TrimPrefix(text(doc), name+" "), "is ")
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
