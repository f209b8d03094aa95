// Package dpkg reads the database of installed Debian packages in an image.
package dpkg

import (
	"bufio"
	"bytes"
	"crypto/md5" // what dpkg records of conffiles
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
)

const (
	// Status is the database's main file.
	Status = "/var/lib/dpkg/status"
	info   = "/var/lib/dpkg/info"
	// maxStatus bounds it; a full desktop has about 5 MiB.
	maxStatus = 64 << 20
	maxLine   = 1 << 20
)

// Package is one stanza of the database.
type Package struct {
	Name    string
	Version string
	Arch    string
	Source  string // source package, the name if none is given
	// Want is what the administrator selected (install, hold, deinstall,
	// purge), Flag ok or reinstreq, State what is there (installed,
	// config-files, half-installed, …).
	Want, Flag, State string
	Conffiles         []Conffile
	Fields            map[string]string // the relations: Depends, Conflicts, Provides, …
	Pos               source.Position
}

// Installed reports whether the package is there and whole.
func (p Package) Installed() bool { return p.State == "installed" }

// Held reports whether upgrades leave the package alone.
func (p Package) Held() bool { return p.Want == "hold" }

// Conffile is a configuration file that a package brought.
type Conffile struct {
	Path string
	MD5  string // of the packager's version
	// Obsolete conffiles are no longer part of the package.
	Obsolete bool
}

// Database is the set of packages.
type Database struct {
	Packages []Package
	Problems []systemd.Problem
	byName   map[string][]int
}

// Load reads the database. An image without dpkg gives an empty one.
func Load(root fs.FS) (*Database, error) {
	data, err := source.ReadFile(root, Status, maxStatus)
	if errors.Is(err, fs.ErrNotExist) {
		return &Database{}, nil
	}
	if err != nil {
		return nil, err
	}
	return Parse(Status, data)
}

// Parse reads the stanzas of a status file.
func Parse(file string, data []byte) (*Database, error) {
	db := &Database{byName: map[string][]int{}}
	var (
		fields = map[string][]byte{} // appended to in place: a field may have many lines
		field  string
		line   int
		start  int
	)
	flush := func() {
		if len(fields) > 0 {
			db.add(fields, source.Position{File: file, Line: start})
		}
		fields, field = map[string][]byte{}, ""
	}
	s := bufio.NewScanner(bytes.NewReader(data))
	s.Buffer(nil, maxLine)
	for s.Scan() {
		line++
		text := s.Text()
		switch {
		case strings.TrimSpace(text) == "":
			flush()
		case text[0] == ' ' || text[0] == '\t':
			if keep(field) {
				fields[field] = append(append(fields[field], '\n'), strings.TrimSpace(text)...)
			}
		default:
			k, v, ok := strings.Cut(text, ":")
			if !ok {
				db.Problems = append(db.Problems, systemd.Problem{Text: fmt.Sprintf("no field: %.80q", text), Pos: source.Position{File: file, Line: line}})
				field = ""
				continue
			}
			if len(fields) == 0 {
				start = line
			}
			if field = strings.ToLower(k); keep(field) {
				fields[field] = []byte(strings.TrimSpace(v))
			}
		}
	}
	if err := s.Err(); err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("%s:%d: %w", file, line+1, err))
	}
	flush()
	return db, nil
}

// keep selects the fields that something looks at; descriptions are most of
// the file.
func keep(field string) bool {
	switch field {
	case "package", "version", "architecture", "source", "status", "conffiles",
		"depends", "pre-depends", "conflicts", "breaks", "provides", "replaces", "essential":
		return true
	}
	return false
}

func (db *Database) add(raw map[string][]byte, pos source.Position) {
	f := map[string]string{}
	for k, v := range raw {
		f[k] = string(v)
	}
	p := Package{Name: f["package"], Version: f["version"], Arch: f["architecture"], Source: f["source"], Fields: map[string]string{}, Pos: pos}
	if p.Name == "" {
		db.Problems = append(db.Problems, systemd.Problem{Text: "stanza without Package", Pos: pos})
		return
	}
	if p.Source, _, _ = strings.Cut(p.Source, " "); p.Source == "" {
		p.Source = p.Name
	}
	if w := strings.Fields(f["status"]); len(w) == 3 {
		p.Want, p.Flag, p.State = w[0], w[1], w[2]
	} else {
		db.Problems = append(db.Problems, systemd.Problem{Text: fmt.Sprintf("package %s: status %q, want three words", p.Name, f["status"]), Pos: pos})
	}
	for _, l := range strings.Split(f["conffiles"], "\n") {
		if w := strings.Fields(l); len(w) >= 2 {
			p.Conffiles = append(p.Conffiles, Conffile{w[0], w[1], len(w) > 2 && w[2] == "obsolete"})
		}
	}
	for _, k := range []string{"depends", "pre-depends", "conflicts", "breaks", "provides", "replaces", "essential"} {
		if f[k] != "" {
			p.Fields[k] = f[k]
		}
	}
	db.byName[p.Name] = append(db.byName[p.Name], len(db.Packages))
	db.Packages = append(db.Packages, p)
}

// Package returns the installed package of that name.
func (db *Database) Package(name string) (Package, bool) {
	for _, i := range db.byName[name] {
		if db.Packages[i].Installed() {
			return db.Packages[i], true
		}
	}
	return Package{}, false
}

// Broken lists the packages that are neither whole nor gone.
func (db *Database) Broken() []Package {
	var out []Package
	for _, p := range db.Packages {
		switch p.State {
		case "installed", "config-files", "not-installed", "":
			if p.Flag == "ok" || p.Flag == "" {
				continue
			}
		}
		out = append(out, p)
	}
	return out
}

// Owner returns the installed package that brought the file p, with links of
// a merged /usr taken into account; false if dpkg knows no such file.
func (db *Database) Owner(root fs.FS, p string) (Package, bool, error) {
	want := map[string]bool{}
	for _, s := range spellings(path.Clean("/" + p)) {
		want[s] = true
	}
	es, err := source.ReadDir(root, info)
	if errors.Is(err, fs.ErrNotExist) {
		return Package{}, false, nil
	}
	if err != nil {
		return Package{}, false, err
	}
	base := path.Base(p)
	for _, e := range es {
		name, ok := strings.CutSuffix(e.Name(), ".list")
		if !ok {
			continue
		}
		data, err := source.ReadFile(root, path.Join(info, e.Name()), maxStatus)
		if err != nil {
			return Package{}, false, err
		}
		if !bytes.Contains(data, []byte(base)) {
			continue
		}
		for _, l := range strings.Split(string(data), "\n") {
			if want[l] {
				name, _, _ = strings.Cut(name, ":")
				pkg, ok := db.Package(name)
				return pkg, ok, nil
			}
		}
	}
	return Package{}, false, nil
}

// spellings are the paths under which a package may have shipped a file that
// is found at p on a system with a merged /usr, or a merged /usr/sbin.
func spellings(p string) []string {
	out := []string{p}
	for _, d := range []string{"/bin/", "/sbin/", "/lib/"} {
		if strings.HasPrefix(p, "/usr"+d) {
			out = append(out, strings.TrimPrefix(p, "/usr"))
		} else if strings.HasPrefix(p, d) {
			out = append(out, "/usr"+p)
		}
	}
	return out
}

// Change is a conffile that differs from what its package brought.
type Change struct {
	Package  string
	Conffile Conffile
	// Missing says that the file is gone; MD5 is that of the file otherwise.
	Missing bool
	MD5     string
}

// Changed compares the conffiles of a package with the image. dpkg asks about
// such files at the next upgrade, and an unattended one keeps or replaces them.
func (db *Database) Changed(root fs.FS, p Package) ([]Change, error) {
	var out []Change
	for _, c := range p.Conffiles {
		if c.Obsolete {
			continue
		}
		data, err := source.ReadFile(root, c.Path, source.MaxFile)
		if errors.Is(err, fs.ErrNotExist) {
			out = append(out, Change{Package: p.Name, Conffile: c, Missing: true})
			continue
		}
		if err != nil {
			return nil, err
		}
		sum := md5.Sum(data)
		if h := hex.EncodeToString(sum[:]); h != c.MD5 {
			out = append(out, Change{Package: p.Name, Conffile: c, MD5: h})
		}
	}
	return out, nil
}

// Leftovers lists files that dpkg left beside conffiles that it did not
// replace: *.dpkg-dist and *.dpkg-new, below dir.
func Leftovers(root fs.FS, dir string) ([]string, error) {
	var out []string
	n := 0
	err := fs.WalkDir(root, source.Name(dir), func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if n++; n > source.MaxEntries {
			return exitcode.BadInput(fmt.Errorf("more than %d files: %w", source.MaxEntries, source.ErrTooLarge))
		}
		if strings.HasSuffix(p, ".dpkg-dist") || strings.HasSuffix(p, ".dpkg-new") {
			out = append(out, source.Path(p))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	sort.Strings(out)
	return out, nil
}

// Owners is Owner for many files in one pass over dpkg's lists: the names of
// the packages that brought them, by path. A file that no package brought is not
// in it.
func (db *Database) Owners(root fs.FS, paths []string) (map[string]string, error) {
	want := map[string]string{}
	for _, p := range paths {
		for _, s := range spellings(path.Clean("/" + p)) {
			want[s] = p
		}
	}
	owners := map[string]string{}
	es, err := source.ReadDir(root, info)
	if errors.Is(err, fs.ErrNotExist) {
		return owners, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range es {
		name, ok := strings.CutSuffix(e.Name(), ".list")
		if !ok {
			continue
		}
		data, err := source.ReadFile(root, path.Join(info, e.Name()), maxStatus)
		if err != nil {
			return nil, err
		}
		name, _, _ = strings.Cut(name, ":")
		if _, installed := db.Package(name); !installed {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if p, ok := want[strings.TrimSuffix(line, "\n")]; ok {
				owners[p] = name
			}
		}
	}
	return owners, nil
}
