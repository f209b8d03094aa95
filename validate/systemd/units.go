// Package systemd says what systemd makes of the unit files in an image,
// without running it: which file a unit is loaded from, which drop-ins apply,
// what is masked, aliased and enabled, and what the merged settings are.
package systemd

import (
	"errors"
	"io/fs"
	"path"
	"sort"
	"strings"
	"sync"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// searchPath is the unit search path of the system manager, first wins.
func searchPath() []string {
	return []string{
		"/etc/systemd/system.control",
		"/run/systemd/system.control",
		"/run/systemd/transient",
		"/run/systemd/generator.early",
		"/etc/systemd/system",
		"/etc/systemd/system.attached",
		"/run/systemd/system",
		"/run/systemd/system.attached",
		"/run/systemd/generator",
		"/usr/local/lib/systemd/system",
		"/usr/lib/systemd/system",
		"/lib/systemd/system", // a link to the former on a merged /usr
		"/run/systemd/generator.late",
	}
}

// maxAliases bounds how many links are followed from one unit to another.
const maxAliases = 8

// Units are all unit files of an image. They are safe for concurrent use.
type Units struct {
	root  fs.FS
	dirs  []dir
	pulls []Pull // links in NAME.wants and the like
	// aliases are the other names of a unit, from links in the search path.
	aliases map[string][]string

	bootOnce sync.Once
	boot     map[string]string
	bootErr  error
}

type dir struct {
	path  string
	names map[string]fs.DirEntry
}

// Pull is a link that starts Unit with Target: the trace that
// `systemctl enable` leaves, or one shipped by a package.
type Pull struct {
	Unit   string // name of the link
	Target string // the unit that pulls it in
	Kind   string // wants, requires, upholds
	Path   string // of the link
}

// Load lists the unit directories of an image. It reads no unit yet.
func Load(root fs.FS) (*Units, error) {
	u := &Units{root: root, aliases: map[string][]string{}}
	for _, p := range searchPath() {
		if t, ok := source.Link(root, "/lib"); ok && strings.HasPrefix(p, "/lib/") && source.ResolveLink("/lib", t) == "/usr/lib" {
			continue
		}
		es, err := source.ReadDir(root, p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		d := dir{path: p, names: map[string]fs.DirEntry{}}
		for _, e := range es {
			d.names[e.Name()] = e
			u.noteAlias(p, e)
			if err := u.listPulls(p, e.Name()); err != nil {
				return nil, err
			}
		}
		u.dirs = append(u.dirs, d)
	}
	return u, nil
}

func (u *Units) listPulls(dir, name string) error {
	for _, kind := range []string{"wants", "requires", "upholds"} {
		target, ok := strings.CutSuffix(name, "."+kind)
		if !ok {
			continue
		}
		es, err := source.ReadDir(u.root, path.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range es {
			u.pulls = append(u.pulls, Pull{e.Name(), target, kind, path.Join(dir, name, e.Name())})
		}
	}
	return nil
}

// noteAlias records a link from one unit's name to another's file.
func (u *Units) noteAlias(dir string, e fs.DirEntry) {
	if e.Type()&fs.ModeSymlink == 0 || !isUnit(e.Name()) {
		return
	}
	p := path.Join(dir, e.Name())
	t, ok := source.Link(u.root, p)
	if id := path.Base(t); ok && id != e.Name() && isUnit(id) && u.inSearchPath(source.ResolveLink(p, t)) && !contains(u.aliases[id], e.Name()) {
		u.aliases[id] = append(u.aliases[id], e.Name())
	}
}

// Names lists the units that have a file or link of their own, sorted.
// A suffix like ".service" selects one type; "" lists them all.
func (u *Units) Names(suffix string) []string {
	seen := map[string]bool{}
	for _, d := range u.dirs {
		for n := range d.names {
			if isUnit(n) && strings.HasSuffix(n, suffix) {
				seen[n] = true
			}
		}
	}
	out := make([]string, 0, len(seen))
	for n := range seen {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

func isUnit(name string) bool {
	switch path.Ext(name) {
	case ".service", ".socket", ".target", ".device", ".mount", ".automount", ".swap", ".timer", ".path", ".slice", ".scope":
		return true
	}
	return false
}

// LoadState is what `systemctl show -p LoadState` would print.
type LoadState string

// The states of a unit file.
const (
	Loaded   LoadState = "loaded"
	Masked   LoadState = "masked"
	NotFound LoadState = "not-found"
	Bad      LoadState = "bad-setting" // no unit in it that could start
)

// Unit is one unit with everything that applies to it.
type Unit struct {
	Name string // as asked for
	// ID is the name that the unit really has, when Name is an alias.
	ID    string
	State LoadState
	// Fragment is the unit's main file, or the mask.
	Fragment string
	DropIns  []string // in the order they apply
	// MaskedDropIns are links to /dev/null that hide a drop-in of another directory.
	MaskedDropIns []string
	Settings      Settings
	Problems      []Problem
}

// Unit loads the unit of that name: service, timer, mount or any other.
// A unit that does not exist has the state NotFound; its drop-ins are there
// all the same, since they may be all that a package has left behind.
func (u *Units) Unit(name string) (*Unit, error) {
	out := &Unit{Name: name, ID: name, State: NotFound}
	file, err := u.fragment(out)
	if err != nil {
		return nil, err
	}
	if file != "" {
		data, err := source.ReadFile(u.root, file, source.MaxFile)
		if err != nil {
			return nil, err
		}
		if len(data) == 0 {
			out.State = Masked // an empty file masks as a link to /dev/null does
		} else {
			out.add(file, data)
		}
	}
	if err := u.dropIns(out); err != nil {
		return nil, err
	}
	if out.State == Loaded && strings.HasSuffix(out.ID, ".service") && !out.startable() {
		out.State = Bad
	}
	return out, nil
}

func (u *Unit) add(file string, data []byte) {
	s, p := Parse(file, data)
	u.Settings = append(u.Settings, s...)
	u.Problems = append(u.Problems, p...)
}

func (u *Unit) startable() bool {
	for _, k := range []string{"ExecStart", "ExecStop", "SuccessAction"} {
		if len(u.Settings.All("Service", k)) > 0 {
			return true
		}
	}
	t, _ := u.Settings.Last("Service", "Type")
	return t.Value == "oneshot" && len(u.Settings.All("Service", "ExecStart")) > 0
}

// fragment finds the unit's file, following aliases. It sets the unit's ID,
// state and fragment and returns the file to read, "" for none.
func (u *Units) fragment(out *Unit) (string, error) {
	name := out.Name
	for range maxAliases {
		p, ok := u.find(name)
		if !ok {
			return "", nil
		}
		out.Fragment = p
		target, isLink := source.Link(u.root, p)
		if !isLink {
			out.State = Loaded
			return p, nil
		}
		to := source.ResolveLink(p, target)
		if to == "/dev/null" {
			out.State = Masked
			return "", nil
		}
		base := path.Base(to)
		if !isUnit(base) || base == path.Base(p) || !u.inSearchPath(to) {
			// A linked unit: its file lies elsewhere.
			if !source.Exists(u.root, p) {
				return "", nil
			}
			out.State = Loaded
			return p, nil
		}
		if strings.Contains(base, "@.") && strings.Contains(name, "@") {
			_, instance, _ := strings.Cut(name, "@")
			prefix, _, _ := strings.Cut(base, "@")
			base = prefix + "@" + instance
		}
		if base == name {
			out.State = Loaded
			return p, nil
		}
		name, out.ID = base, base
	}
	return "", nil
}

// find returns the file of this very name, or of the template behind an instance.
func (u *Units) find(name string) (string, bool) {
	for _, n := range []string{name, template(name)} {
		if n == "" {
			continue
		}
		for _, d := range u.dirs {
			if e, ok := d.names[n]; ok && !e.IsDir() {
				return path.Join(d.path, n), true
			}
		}
	}
	return "", false
}

func (u *Units) inSearchPath(p string) bool {
	for _, d := range searchPath() {
		if path.Dir(p) == d {
			return true
		}
	}
	return false
}

// template returns foo@.service for foo@bar.service, "" for anything else.
func template(name string) string {
	prefix, rest, ok := strings.Cut(name, "@")
	ext := path.Ext(name)
	if !ok || rest == ext {
		return ""
	}
	return prefix + "@" + ext
}

// dropIns reads the *.conf files of the unit's drop-in directories. A file
// hides those of the same name in later directories; then all are applied in
// the order of their names.
func (u *Units) dropIns(out *Unit) error {
	names := []string{out.ID}
	if out.Name != out.ID {
		names = append(names, out.Name)
	}
	var dirs []string
	for _, n := range names {
		for _, d := range u.dirs {
			for _, c := range dropInNames(n) {
				if e, ok := d.names[c]; ok && (e.IsDir() || e.Type()&fs.ModeSymlink != 0) {
					dirs = append(dirs, path.Join(d.path, c))
				}
			}
		}
	}
	for _, d := range u.dirs { // for all units of the type, last
		c := strings.TrimPrefix(path.Ext(out.ID), ".") + ".d"
		if e, ok := d.names[c]; ok && e.IsDir() {
			dirs = append(dirs, path.Join(d.path, c))
		}
	}
	files, masked, err := ConfFiles(u.root, dirs)
	if err != nil {
		return err
	}
	out.MaskedDropIns = masked
	for _, f := range files {
		data, err := source.ReadFile(u.root, f, source.MaxFile)
		if err != nil {
			return err
		}
		out.DropIns = append(out.DropIns, f)
		out.add(f, data)
	}
	return nil
}

// dropInNames are the directories for one unit name: its own, its
// template's, and those of its dash prefixes (foo-.service.d for foo-bar.service).
func dropInNames(name string) []string {
	out := []string{name + ".d"}
	if t := template(name); t != "" {
		out = append(out, t+".d")
	}
	ext := path.Ext(name)
	stem, _, _ := strings.Cut(strings.TrimSuffix(name, ext), "@")
	for {
		i := strings.LastIndexByte(strings.TrimSuffix(stem, "-"), '-')
		if i < 0 {
			return out
		}
		stem = stem[:i+1]
		out = append(out, stem+ext+".d")
	}
}

// ConfFiles lists the *.conf files of directories in order of precedence,
// sorted by name, and the links to /dev/null that hide one.
func ConfFiles(root fs.FS, dirs []string) (files, masked []string, err error) {
	chosen := map[string]string{}
	for _, d := range dirs {
		es, err := source.ReadDir(root, d)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		for _, e := range es {
			if !strings.HasSuffix(e.Name(), ".conf") || e.IsDir() || chosen[e.Name()] != "" {
				continue
			}
			chosen[e.Name()] = path.Join(d, e.Name())
		}
	}
	names := make([]string, 0, len(chosen))
	for n := range chosen {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		p := chosen[n]
		if t, ok := source.Link(root, p); ok && source.ResolveLink(p, t) == "/dev/null" {
			masked = append(masked, p)
			continue
		}
		if !source.Exists(root, p) {
			continue // a dangling link
		}
		files = append(files, p)
	}
	return files, masked, nil
}
