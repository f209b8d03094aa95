// Package apparmor says which AppArmor profiles an image loads at boot and to
// which programs they attach.
//
// It reads the policy sources in /etc/apparmor.d as far as names, attachments,
// flags and the ABI go. Rules are not interpreted.
package apparmor

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
)

// Dir holds the policy.
const Dir = "/etc/apparmor.d"

// Profile is one profile, hat or child profile.
type Profile struct {
	Name   string // the label that a confined process carries
	Parent string // for a child profile or a hat
	// Attachments are the path patterns as written, with variables expanded
	// and alternations left as they are; none if the profile is only entered
	// by name.
	Attachments []string
	Flags       []string
	ABI         string // of the file: abi/4.0, "" if none is named
	// Disabled profiles have a link in disable/ and are not loaded.
	Disabled bool
	// ForceComplain profiles have a link in force-complain/.
	ForceComplain bool
	Pos           source.Position
}

// HasFlag reports whether the profile has a flag: unconfined, complain, attach_disconnected.
func (p *Profile) HasFlag(flag string) bool {
	for _, f := range p.Flags {
		if f == flag {
			return true
		}
	}
	return false
}

// Policy is all that an image loads.
type Policy struct {
	Profiles []Profile
	Problems []systemd.Problem
	// Parser says that apparmor_parser is there: without it nothing is
	// loaded, and containerd does not use AppArmor either.
	Parser bool
	// ABIs are the feature files below abi/, e.g. 3.0, 4.0, kernel-5.4-vanilla.
	ABIs []string
}

// Load reads the policy of an image.
func Load(root fs.FS) (*Policy, error) {
	p := &Policy{}
	for _, bin := range []string{"/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"} {
		p.Parser = p.Parser || source.Exists(root, bin)
	}
	es, err := source.ReadDir(root, Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	vars, err := tunables(root)
	if err != nil {
		return nil, err
	}
	disabled, err := names(root, path.Join(Dir, "disable"))
	if err != nil {
		return nil, err
	}
	complain, err := names(root, path.Join(Dir, "force-complain"))
	if err != nil {
		return nil, err
	}
	abis, err := names(root, path.Join(Dir, "abi"))
	if err != nil {
		return nil, err
	}
	for n := range abis {
		p.ABIs = append(p.ABIs, n)
	}
	sort.Strings(p.ABIs)
	for _, e := range es {
		f := path.Join(Dir, e.Name())
		if skipped(e.Name()) || e.IsDir() {
			continue
		}
		st, err := source.Stat(root, f)
		if err != nil || !st.Mode().IsRegular() {
			continue // a dangling link, a directory behind a link
		}
		data, err := source.ReadFile(root, f, source.MaxFile)
		if err != nil {
			return nil, err
		}
		ps, problems := Parse(f, data, vars)
		p.Problems = append(p.Problems, problems...)
		for i := range ps {
			ps[i].Disabled = disabled[e.Name()]
			ps[i].ForceComplain = complain[e.Name()]
		}
		p.Profiles = append(p.Profiles, ps...)
	}
	return p, nil
}

// skipped are the files that the boot script and the parser pass over.
func skipped(name string) bool {
	if name[0] == '.' || name == "README" {
		return true
	}
	for _, s := range []string{".dpkg-new", ".dpkg-old", ".dpkg-dist", ".dpkg-bak", ".dpkg-remove", ".pacsave", ".pacnew", ".rpmnew", ".rpmsave", ".orig", ".rej", "~"} {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

func names(root fs.FS, dir string) (map[string]bool, error) {
	es, err := source.ReadDir(root, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, e := range es {
		out[e.Name()] = true
	}
	return out, nil
}

// Attaching returns the profile that a program at that path is put under when
// an unconfined process starts it, nil if none. Of several the one with the
// longest fixed prefix wins, as it does in the kernel.
func (p *Policy) Attaching(program string) (*Profile, error) {
	var best *Profile
	longest := -1
	for i := range p.Profiles {
		pr := &p.Profiles[i]
		if pr.Disabled || pr.Parent != "" {
			continue
		}
		for _, a := range pr.Attachments {
			ok, err := Match(a, program)
			if err != nil {
				return nil, fmt.Errorf("%s: profile %s: %w", pr.Pos, pr.Name, err)
			}
			if n := fixedPrefix(a); ok && n > longest {
				best, longest = pr, n
			}
		}
	}
	return best, nil
}

func fixedPrefix(pattern string) int {
	if i := strings.IndexAny(pattern, "*?[{"); i >= 0 {
		return i
	}
	return len(pattern)
}

// Profile returns the profile with that name.
func (p *Policy) Profile(name string) *Profile {
	for i := range p.Profiles {
		if p.Profiles[i].Name == name {
			return &p.Profiles[i]
		}
	}
	return nil
}

// HasABI reports whether /etc/apparmor.d/abi has that feature file ("3.0").
func (p *Policy) HasABI(name string) bool {
	for _, a := range p.ABIs {
		if a == name {
			return true
		}
	}
	return false
}

// tunables reads the variables of tunables/, which every profile includes.
func tunables(root fs.FS) (map[string][]string, error) {
	vars := map[string][]string{}
	n := 0
	err := fs.WalkDir(root, source.Name(path.Join(Dir, "tunables")), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if n++; n > source.MaxEntries {
			return fs.SkipAll
		}
		if !d.Type().IsRegular() || skipped(d.Name()) {
			return nil
		}
		data, err := source.ReadFile(root, p, source.MaxFile)
		if err != nil {
			return err
		}
		for _, l := range source.Lines(p, data) {
			assign(vars, l.Text)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path.Join(Dir, "tunables"), err)
	}
	return vars, nil
}

// assign reads @{NAME}=value value or @{NAME}+=value.
func assign(vars map[string][]string, line string) bool {
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "@{") {
		return false
	}
	end := strings.IndexByte(line, '}')
	if end < 0 {
		return false
	}
	name, rest := line[2:end], strings.TrimSpace(line[end+1:])
	rest, add := strings.CutPrefix(rest, "+")
	rest, ok := strings.CutPrefix(strings.TrimSpace(rest), "=")
	if !ok {
		return false
	}
	if i := strings.Index(rest, " #"); i >= 0 {
		rest = rest[:i]
	}
	if !add {
		vars[name] = nil
	}
	for _, w := range strings.Fields(rest) {
		vars[name] = append(vars[name], strings.Trim(w, `"`))
	}
	return true
}
