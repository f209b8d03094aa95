package profiles

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

//go:embed *.yaml pins/*.yaml
var builtin embed.FS

// compatibilityFile lies beside the profiles and is none.
const compatibilityFile = "compatibility.yaml"

// lockSuffix ends the name of a profile's lock, which lies beside it and is none.
const lockSuffix = ".lock.yaml"

// maxFileSize bounds what is read as one profile, in bytes. The largest
// sensible one has some 10 KiB.
const maxFileSize = 256 << 10

// maxExtends bounds how many base profiles may follow one another.
const maxExtends = 8

// source is the text of one profile file.
type source struct {
	name string // as shown in errors: the path as given, or profiles/x.yaml for a built-in one
	dir  string // where a base profile is looked up; "" for a built-in one
	data []byte
	kind string // what the file should be, for errors; a profile if empty
}

func (s source) what() string { return cmp.Or(s.kind, "profile") }

// hint says what to do instead of using a YAML alias.
func (s source) hint() string {
	if s.kind == "" {
		return "write the value out, or put it into a base profile"
	}
	return "write the value out"
}

// reader finds base profiles and the table that they are held against; a test
// puts others behind it.
type reader struct {
	builtin       fs.FS
	file          func(path string) ([]byte, error)
	compatibility func() (*Compatibility, error)
}

func newReader() reader {
	return reader{builtin: builtin, file: readBounded, compatibility: LoadCompatibility}
}

// ReadBounded returns the text of a regular file; it reads little more than a
// document may have. Errors wrap those of package fs.
func ReadBounded(path string) ([]byte, error) { return readBounded(path) }

func readBounded(path string) ([]byte, error) {
	// Before opening it: opening a pipe waits for its other end.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFileSize+1))
}

func (r reader) load(nameOrPath string) (source, error) {
	if strings.HasSuffix(nameOrPath, ".yaml") {
		data, err := r.file(nameOrPath)
		if err != nil {
			return source{}, fmt.Errorf("reading profile: %w", err)
		}
		return source{name: nameOrPath, dir: filepath.Dir(nameOrPath), data: data}, nil
	}
	src, err := r.builtinSource(nameOrPath)
	if !errors.Is(err, fs.ErrNotExist) {
		return src, err
	}
	names, err := r.names(false)
	if err != nil {
		return source{}, err
	}
	return source{}, fmt.Errorf("no built-in profile %s: expected %s, or a path ending in .yaml%s",
		quote(nameOrPath), strings.Join(names, ", "), didYouMean(nameOrPath, names))
}

func didYouMean(word string, candidates []string) string {
	if guess := closest(word, candidates); guess != "" {
		return fmt.Sprintf("; did you mean %q?", guess)
	}
	return ""
}

// builtinSource returns an fs.ErrNotExist when there is none of this name.
func (r reader) builtinSource(name string) (source, error) {
	file := name + ".yaml"
	if !profileName.MatchString(name) || file == compatibilityFile {
		return source{}, fs.ErrNotExist
	}
	data, err := fs.ReadFile(r.builtin, file)
	if err != nil {
		return source{}, fmt.Errorf("reading built-in profile %q: %w", name, err)
	}
	return source{name: "profiles/" + file, data: data}, nil
}

// names lists the built-in profiles, with or without those that are only a base.
func (r reader) names(bases bool) ([]string, error) {
	files, err := fs.Glob(r.builtin, "*.yaml")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, file := range files {
		if file == compatibilityFile || strings.HasSuffix(file, lockSuffix) {
			continue
		}
		data, err := fs.ReadFile(r.builtin, file)
		if err != nil {
			return nil, err
		}
		node, problems := parse(source{name: file, data: data})
		if len(problems) > 0 {
			return nil, problems
		}
		if bases || scalar(node.value("abstract")) != "true" {
			names = append(names, strings.TrimSuffix(file, ".yaml"))
		}
	}
	slices.Sort(names)
	return names, nil
}

// base finds the profile that from extends: beside from, then among the
// built-in ones.
func (r reader) base(from source, name string) (source, error) {
	if from.dir != "" {
		path := filepath.Join(from.dir, name+".yaml")
		data, err := r.file(path)
		if err == nil {
			return source{name: path, dir: from.dir, data: data}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return source{}, err
		}
	}
	src, err := r.builtinSource(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return src, err
	}
	names, err := r.names(true)
	if err != nil {
		return source{}, err
	}
	where := "built in"
	if from.dir != "" {
		where = "beside this file and built in"
	}
	return source{}, fmt.Errorf("no profile %q %s; the built-in ones are %s%s",
		name, where, strings.Join(names, ", "), didYouMean(name, names))
}

// Names lists the built-in profiles that can be built, sorted. Base profiles
// (abstract: true) are left out.
func Names() []string {
	names, err := newReader().names(false)
	if err != nil {
		// The files are compiled in and a test reads each of them.
		panic(fmt.Sprintf("built-in profiles: %v", err))
	}
	return names
}

// Load reads a profile: a built-in one by name, or a file by a path that ends
// in .yaml. It follows extends, fills in defaults and checks everything.
//
// Whatever is wrong with the text comes back at once as Problems. Every error
// is tagged as bad input (exit code 2).
func Load(nameOrPath string) (*Profile, error) {
	r := newReader()
	src, err := r.load(nameOrPath)
	if err != nil {
		return nil, exitcode.BadInput(err)
	}
	p, err := r.resolve(src)
	return p, exitcode.BadInput(err)
}

// Read reads a profile from its text as Load does from a file. Problems call it
// by name, and what it extends is built in.
func Read(name string, text []byte) (*Profile, error) {
	p, err := newReader().resolve(source{name: name, data: text})
	return p, exitcode.BadInput(err)
}
