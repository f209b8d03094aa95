package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// maxEdited bounds a file that is edited or copied, in bytes. The largest
// sensible one is the kubelet.
const maxEdited = 256 << 20

// Changes are a fault's change worked out over one image: what to lay over it,
// or to write into it.
type Changes struct {
	Root, ESP []target.Entry
}

// Components makes the components that a fault swaps in.
type Components func(ctx context.Context, f Fault) (map[string]component.Built, error)

// Plan works out what f changes in t. components is asked only when f swaps
// any. What the fault wants to edit and the image does not have is bad input:
// the fault does not fit the image, and nothing may be concluded from it.
func Plan(ctx context.Context, t *target.Target, f Fault, components Components) (Changes, error) {
	p := planner{base: t, at: map[string]int{}}
	if err := p.plan(ctx, f, components); err != nil {
		return Changes{}, fmt.Errorf("fault %s: applying it to %s: %w", f.ID, t.Path(), err)
	}
	return p.changes, nil
}

type planner struct {
	base    *target.Target
	changes Changes
	at      map[string]int // of an entry in changes.Root, by path
}

func (p *planner) plan(ctx context.Context, f Fault, components Components) error {
	if len(f.Change.Components) > 0 {
		built, err := components(ctx, f)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(built)) {
			if err := p.component(built[name]); err != nil {
				return fmt.Errorf("component %s: %w", name, err)
			}
		}
	}
	var errs []error
	for i, file := range f.Change.Files {
		if err := p.each(file); err != nil {
			errs = append(errs, fmt.Errorf("change.files[%d]: %w", i, err))
		}
	}
	errs = append(errs, p.packages(f.Change.Packages), p.commandLine(f.Change.CommandLine))
	return errors.Join(errs...)
}

func badf(format string, args ...any) error {
	return exitcode.BadInput(fmt.Errorf(format, args...))
}

// now is the image with what was planned so far.
func (p *planner) now() (target.FS, error) {
	over, err := p.base.WithLayer(p.changes.Root, nil)
	if err != nil {
		return nil, err
	}
	return over.Root(), nil
}

// add plans one entry; a later one for the same path takes its place.
func (p *planner) add(e target.Entry) {
	if i, ok := p.at[e.Path]; ok && !p.changes.Root[i].Removed && !e.Removed && !e.Mode.IsDir() && !e.Keep {
		p.changes.Root[i] = e
		return
	}
	if e.Removed {
		maps.DeleteFunc(p.at, func(at string, _ int) bool { return strings.HasPrefix(at, e.Path+"/") })
	}
	p.at[e.Path] = len(p.changes.Root)
	p.changes.Root = append(p.changes.Root, e)
}

// real resolves the links in a path's directories and leaves the last name.
// Directories that are not there are taken as written.
func real(root target.FS, p string) (string, error) {
	dir, name := path.Split(p)
	resolved, err := root.Resolve(target.Rel(dir))
	if errors.Is(err, fs.ErrNotExist) {
		if dir = path.Clean(dir); dir == "/" {
			return p, nil
		}
		parent, err := real(root, dir)
		return path.Join(parent, name), err
	}
	return path.Join("/", resolved, name), err
}

// component puts a component's files where the image's records say that the
// image's own are.
func (p *planner) component(built component.Built) error {
	root := p.base.Root()
	entries, err := root.ReadDir(target.Rel(manifest.FragmentDir))
	if err != nil {
		return badf("reading the image's records (only an image built by nodeimage has them): %w", err)
	}
	var missing []string
	found := false
	for _, e := range entries {
		file := path.Join(manifest.FragmentDir, e.Name())
		text, err := root.ReadFile(target.Rel(file))
		if err != nil {
			return err
		}
		var fragment manifest.Fragment
		if err := json.Unmarshal(text, &fragment); err != nil {
			return badf("reading %s: %w", file, err)
		}
		for _, c := range fragment.Components {
			if c.Name != built.Name {
				continue
			}
			for _, place := range c.Files {
				found = true
				replacement, ok := built.File(path.Base(place.Path))
				if !ok {
					missing = append(missing, place.Path)
					continue
				}
				if err := p.replace(root, place.Path, replacement); err != nil {
					return err
				}
			}
		}
	}
	switch {
	case !found:
		return badf("the image's records in %s name no file of it", manifest.FragmentDir)
	case len(missing) > 0:
		return badf("version %s has nothing for %s", built.Version, strings.Join(missing, ", "))
	}
	return nil
}

func (p *planner) replace(root target.FS, at string, with component.File) error {
	at, err := real(root, path.Clean(path.Join("/", at)))
	if err != nil {
		return err
	}
	fi, err := root.Lstat(target.Rel(at))
	if err != nil {
		return badf("the image's records name %s: %w", at, err)
	}
	owner, _ := target.SysOf(fi)
	p.add(target.Entry{Path: at, Mode: fi.Mode(), UID: owner.UID, GID: owner.GID, File: with.Path})
	return nil
}

// each carries out a change for every file that its path matches: a kernel's
// directory has the release in its name.
func (p *planner) each(f File) error {
	root, err := p.now()
	if err != nil {
		return err
	}
	if f.CopyOf, err = only(root, f.CopyOf); err != nil {
		return err
	}
	if !strings.Contains(f.Path, "*") {
		return p.file(f)
	}
	names, err := fs.Glob(root, target.Rel(f.Path))
	if err != nil {
		return badf("%s: %w", f.Path, err)
	}
	if len(names) == 0 {
		return badf("%s: matches nothing in the image", f.Path)
	}
	for _, name := range names {
		one := f
		one.Path = "/" + name
		if err := p.file(one); err != nil {
			return err
		}
	}
	return nil
}

// only is the single file that a path with a * matches.
func only(root target.FS, p string) (string, error) {
	if !strings.Contains(p, "*") {
		return p, nil
	}
	names, err := fs.Glob(root, target.Rel(p))
	if err != nil || len(names) != 1 {
		return "", badf("%s: matches %d files in the image, want one: %v", p, len(names), err)
	}
	return "/" + names[0], nil
}

func (p *planner) file(f File) error {
	root, err := p.now()
	if err != nil {
		return err
	}
	if len(f.Edit) > 0 || f.Append != "" || f.isModeOnly() {
		return p.modify(root, f)
	}
	at, err := real(root, f.Path)
	if err != nil {
		return err
	}
	fi, err := root.Lstat(target.Rel(at))
	there := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	e := target.Entry{Path: at, Mode: 0o644}
	switch {
	case f.Remove:
		if !there {
			return badf("%s: is not in the image, so it cannot be removed", f.Path)
		}
		e.Removed = true
	case f.Link != "":
		e.Mode, e.Link = fs.ModeSymlink|0o777, f.Link
	case f.Directory:
		if there {
			return badf("%s: is in the image already", f.Path)
		}
		e.Mode = fs.ModeDir | 0o755
	case f.CopyOf != "":
		from, err := root.Stat(target.Rel(f.CopyOf))
		if err != nil {
			return badf("%s: %w", f.Path, err)
		}
		if e.Content, err = root.ReadFileMax(target.Rel(f.CopyOf), maxEdited); err != nil {
			return badf("%s: %w", f.Path, err)
		}
		owner, _ := target.SysOf(from)
		e.Mode, e.UID, e.GID = from.Mode(), owner.UID, owner.GID
	default:
		e.Content = []byte(f.Content)
		if there && fi.Mode().IsRegular() {
			owner, _ := target.SysOf(fi)
			e.Mode, e.UID, e.GID = fi.Mode(), owner.UID, owner.GID
		}
	}
	if there && fi.IsDir() != (e.Mode.IsDir() && !e.Removed) && !e.Removed {
		return badf("%s: is a directory in the image", f.Path)
	}
	p.add(withMode(e, f.Mode))
	return nil
}

func (f File) isModeOnly() bool {
	return f.Mode != "" && f.Content == "" && f.CopyOf == "" && f.Link == "" && !f.Directory
}

// modify changes a file that is there; a link is followed.
func (p *planner) modify(root target.FS, f File) error {
	resolved, err := root.Resolve(target.Rel(f.Path))
	if err != nil {
		return badf("%s: %w", f.Path, err)
	}
	fi, err := root.Lstat(resolved)
	if err != nil {
		return err
	}
	owner, _ := target.SysOf(fi)
	e := target.Entry{Path: "/" + resolved, Mode: fi.Mode(), UID: owner.UID, GID: owner.GID}
	if f.isModeOnly() && len(f.Edit) == 0 && f.Append == "" {
		e.Keep = true
		if i, ok := p.at[e.Path]; ok && p.changes.Root[i].Mode.IsRegular() && !p.changes.Root[i].Keep && !p.changes.Root[i].Removed {
			e = p.changes.Root[i]
		}
		p.add(withMode(e, f.Mode))
		return nil
	}
	text, err := root.ReadFileMax(resolved, maxEdited)
	if err != nil {
		return badf("%s: %w", f.Path, err)
	}
	for i, edit := range f.Edit {
		changed, err := edit.apply(text)
		if err != nil {
			return badf("%s: edit[%d]: %w", f.Path, i, err)
		}
		text = changed
	}
	e.Content = append(text, f.Append...)
	p.add(withMode(e, f.Mode))
	return nil
}

func (e Edit) apply(text []byte) ([]byte, error) {
	if e.Find != "" {
		if !bytes.Contains(text, []byte(e.Find)) {
			return nil, fmt.Errorf("%q is not in the image's file", e.Find)
		}
		return bytes.ReplaceAll(text, []byte(e.Find), []byte(e.With)), nil
	}
	re := regexp.MustCompile(e.Regexp)
	if !re.Match(text) {
		return nil, fmt.Errorf("nothing in the image's file matches %q", e.Regexp)
	}
	return re.ReplaceAll(text, []byte(e.With)), nil
}

func withMode(e target.Entry, octal string) target.Entry {
	if octal == "" {
		return e
	}
	m, _ := strconv.ParseUint(octal, 8, 32) // the loader has tried it
	mode := fs.FileMode(m & 0o777)
	for bit, flag := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= flag
		}
	}
	e.Mode = e.Mode.Type() | mode
	return e
}

const dpkgStatus = "/var/lib/dpkg/status"

// packages rewrites dpkg's status. A removed package leaves its stanza, as
// dpkg does while configuration files are kept.
func (p *planner) packages(c Packages) error {
	if len(c.Installed)+len(c.Removed) == 0 {
		return nil
	}
	root, err := p.now()
	if err != nil {
		return err
	}
	text, err := root.ReadFileMax(target.Rel(dpkgStatus), maxEdited)
	if err != nil {
		return badf("%w", err)
	}
	stanzas := strings.Split(strings.TrimRight(string(text), "\n"), "\n\n")
	named := func(name string) int {
		return slices.IndexFunc(stanzas, func(s string) bool { return strings.HasPrefix(s, "Package: "+name+"\n") })
	}
	for _, name := range c.Removed {
		i := named(name)
		if i < 0 || !strings.Contains(stanzas[i], "\nStatus: install ok installed") {
			return badf("%s: the package %s is not installed, so it cannot be removed", dpkgStatus, name)
		}
		stanzas[i] = strings.Replace(stanzas[i], "\nStatus: install ok installed", "\nStatus: deinstall ok config-files", 1)
	}
	for _, add := range c.Installed {
		if named(add.Name) >= 0 {
			return badf("%s: the package %s is in the image already", dpkgStatus, add.Name)
		}
		stanzas = append(stanzas, fmt.Sprintf("Package: %s\nStatus: install ok installed\nMaintainer: nobody <nobody@localhost>\nArchitecture: all\nVersion: %s\nDescription: put here by a fault", add.Name, add.Version))
	}
	return p.modify(root, File{Path: dpkgStatus, Edit: []Edit{{Find: string(text), With: strings.Join(stanzas, "\n\n") + "\n\n"}}})
}

var (
	grubLinux  = regexp.MustCompile(`(?m)^(\s*linux(?:16|efi)?\s+.*\S)[ \t]*$`)
	blsOptions = regexp.MustCompile(`(?m)^(options\s+.*\S)[ \t]*$`)
)

// commandLine adds words to every entry of the boot loaders, wherever the
// image keeps them: GRUB's configuration, and Boot Loader Specification files
// in the root and in the EFI system partition.
func (p *planner) commandLine(words []string) error {
	if len(words) == 0 {
		return nil
	}
	added := "$1 " + strings.ReplaceAll(strings.Join(words, " "), "$", "$$")
	entries := 0
	do := func(fsys target.FS, add func(target.Entry), re *regexp.Regexp, patterns ...string) error {
		for _, pattern := range patterns {
			names, err := fs.Glob(fsys, pattern)
			if err != nil {
				return err
			}
			for _, name := range names {
				fi, err := fsys.Stat(name)
				if err != nil {
					return err
				}
				text, err := fsys.ReadFile(name)
				if err != nil {
					return err
				}
				if n := len(re.FindAllIndex(text, -1)); n > 0 {
					entries += n
					owner, _ := target.SysOf(fi)
					resolved, err := fsys.Resolve(name)
					if err != nil {
						return err
					}
					add(target.Entry{Path: "/" + resolved, Mode: fi.Mode(), UID: owner.UID, GID: owner.GID, Content: re.ReplaceAll(text, []byte(added))})
				}
			}
		}
		return nil
	}
	root, err := p.now()
	if err != nil {
		return err
	}
	if err := errors.Join(
		do(root, p.add, grubLinux, "boot/grub/grub.cfg", "boot/grub2/grub.cfg"),
		do(root, p.add, blsOptions, "boot/loader/entries/*.conf")); err != nil {
		return err
	}
	esp, err := p.base.ESP()
	switch {
	case err == nil:
		add := func(e target.Entry) { p.changes.ESP = append(p.changes.ESP, e) }
		if err := errors.Join(
			do(esp, add, grubLinux, "EFI/*/grub.cfg"),
			do(esp, add, blsOptions, "loader/entries/*.conf")); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if entries == 0 {
		return badf("commandLine: the image has no boot loader entry that could be changed: expected grub.cfg or loader/entries/*.conf")
	}
	return nil
}
