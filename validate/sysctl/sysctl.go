// Package sysctl says which kernel settings systemd-sysctl makes when an image
// boots, and which line of which file each comes from.
package sysctl

import (
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
)

// dirs in order of precedence: a file hides those of the same name further down.
func dirs() []string {
	return []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"}
}

// Setting is one assignment.
type Setting struct {
	Key   string // dotted: net.ipv4.ip_forward
	Value string
	// IgnoreFailure is the prefix "-": a kernel without the key is no error.
	IgnoreFailure bool
	Pos           source.Position
	// Overridden are the earlier assignments of the same key, oldest first.
	Overridden []Setting
}

// Config is what systemd-sysctl applies.
type Config struct {
	Files    []string
	exact    map[string]Setting
	globs    []Setting       // in order; the last match wins
	excluded map[string]bool // keys that no pattern applies to
	// Problems are lines that are skipped with a warning.
	Problems []systemd.Problem
	// StrayFile is /etc/sysctl.conf where systemd-sysctl does not read it:
	// it does so only through a link in sysctl.d, which Debian dropped in 13.
	StrayFile string
	stray     map[string]Setting
}

// Load reads the sysctl.d directories of an image.
func Load(root fs.FS) (*Config, error) {
	files, _, err := systemd.ConfFiles(root, dirs())
	if err != nil {
		return nil, err
	}
	c := &Config{Files: files, exact: map[string]Setting{}, excluded: map[string]bool{}, stray: map[string]Setting{}}
	linked := false
	for _, f := range files {
		if t, ok := source.Link(root, f); ok && source.ResolveLink(f, t) == "/etc/sysctl.conf" {
			linked = true
		}
		data, err := source.ReadFile(root, f, source.MaxFile)
		if err != nil {
			return nil, err
		}
		settings, problems := Parse(f, data)
		c.Problems = append(c.Problems, problems...)
		for _, s := range settings {
			c.add(s)
		}
	}
	if !linked && source.Exists(root, "/etc/sysctl.conf") {
		data, err := source.ReadFile(root, "/etc/sysctl.conf", source.MaxFile)
		if err != nil {
			return nil, err
		}
		settings, _ := Parse("/etc/sysctl.conf", data)
		for _, s := range settings {
			c.StrayFile = "/etc/sysctl.conf"
			c.stray[s.Key] = s
		}
	}
	return c, nil
}

// exclusion marks a setting that is a bare "-key".
const exclusion = "\x00"

func (c *Config) add(s Setting) {
	switch {
	case s.Value == exclusion:
		c.excluded[s.Key] = true
	case isPattern(s.Key):
		for i, g := range c.globs {
			if g.Key == s.Key {
				s.Overridden = append(g.Overridden, bare(g))
				c.globs = append(c.globs[:i], c.globs[i+1:]...)
				break
			}
		}
		c.globs = append(c.globs, s)
	default:
		if old, ok := c.exact[s.Key]; ok {
			s.Overridden = append(old.Overridden, bare(old))
		}
		c.exact[s.Key] = s
	}
}

func bare(s Setting) Setting {
	s.Overridden = nil
	return s
}

func isPattern(key string) bool { return strings.ContainsAny(key, "*?[") }

// Get returns what the key is set to at boot. A setting of the key itself wins
// over any pattern, whatever their order.
func (c *Config) Get(key string) (Setting, bool) {
	key = Normalize(key)
	if s, ok := c.exact[key]; ok {
		return s, true
	}
	if c.excluded[key] {
		return Setting{}, false
	}
	for i := len(c.globs) - 1; i >= 0; i-- {
		// Patterns match paths below /proc/sys, so * stops at a slash.
		if ok, err := path.Match(slashed(c.globs[i].Key), slashed(key)); err == nil && ok {
			return c.globs[i], true
		}
	}
	return Setting{}, false
}

// Stray returns the assignment of key in a /etc/sysctl.conf that is not read.
func (c *Config) Stray(key string) (Setting, bool) {
	s, ok := c.stray[Normalize(key)]
	return s, ok
}

// All lists the assignments in force, patterns included, sorted by key.
func (c *Config) All() []Setting {
	out := append([]Setting(nil), c.globs...)
	for _, s := range c.exact {
		out = append(out, s)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return out
}

// Normalize turns a key in any of the accepted spellings into the dotted one,
// "" if it is no key. With a slash as its first separator, a leading one
// included, a key is a path, and its dots are part of names
// (net/ipv4/conf/eth0.1/forwarding).
func Normalize(key string) string {
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		key = slashed(key)
	}
	var parts []string
	for _, p := range strings.Split(key, "/") {
		switch p {
		case "", ".":
		case "..":
			return "" // systemd-sysctl does not leave /proc/sys either
		default:
			parts = append(parts, p)
		}
	}
	for len(parts) >= 2 && parts[0] == "proc" && parts[1] == "sys" {
		parts = parts[2:]
	}
	if len(parts) < 2 {
		return "" // no setting lies at the top
	}
	return swap(strings.Join(parts, "/"))
}

// swap exchanges dots and slashes.
func swap(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, s)
}

func slashed(dotted string) string { return swap(dotted) }

// Parse reads one file.
func Parse(file string, data []byte) ([]Setting, []systemd.Problem) {
	var (
		out      []Setting
		problems []systemd.Problem
	)
	for _, l := range source.Lines(file, data) {
		text := strings.TrimSpace(l.Text)
		if text == "" || text[0] == '#' || text[0] == ';' {
			continue
		}
		key, value, ok := strings.Cut(text, "=")
		key, minus := strings.CutPrefix(strings.TrimSpace(key), "-")
		key = Normalize(strings.TrimSpace(key))
		switch {
		case key == "":
			problems = append(problems, systemd.Problem{Text: fmt.Sprintf("no key in %q", text), Pos: l.Pos})
			continue
		case !ok && !minus:
			problems = append(problems, systemd.Problem{Text: fmt.Sprintf("line is not an assignment: %q", text), Pos: l.Pos})
			continue
		case !ok:
			value = exclusion
		}
		out = append(out, Setting{Key: key, Value: strings.TrimSpace(value), IgnoreFailure: minus, Pos: l.Pos})
	}
	return out, problems
}
