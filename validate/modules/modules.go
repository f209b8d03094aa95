// Package modules says which kernel modules an image loads at boot, which ones
// its configuration keeps from being loaded, and which its kernels have.
package modules

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"path"
	"sort"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
)

// maxIndex bounds modules.dep and modules.builtin; those of a full
// distribution kernel have less than 2 MiB.
const maxIndex = 16 << 20

func dirs(name string) []string {
	return []string{"/etc/" + name, "/run/" + name, "/usr/local/lib/" + name, "/usr/lib/" + name, "/lib/" + name}
}

// Entry is one line of a modules-load.d or modprobe.d file.
type Entry struct {
	Command string // load, blacklist, install, alias, options, softdep, remove
	Module  string // with underscores
	Args    string // what follows the module
	Pos     source.Position
}

// Config is what the image says about modules.
type Config struct {
	// Load are the modules of modules-load.d in the order they are loaded.
	Load []Entry
	// Modprobe are the lines of modprobe.d in the order they count.
	Modprobe []Entry
	Kernels  []Kernel
}

// Kernel is one kernel of the image and what it brings.
type Kernel struct {
	Release string // 6.12.48+deb13-amd64
	Dir     string
	loadable,
	builtin map[string]bool
}

// Load reads modules-load.d, modprobe.d and the kernels' indexes.
func Load(root fs.FS) (*Config, error) {
	c := &Config{}
	files, _, err := systemd.ConfFiles(root, dirs("modules-load.d"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		data, err := source.ReadFile(root, f, source.MaxFile)
		if err != nil {
			return nil, err
		}
		c.Load = append(c.Load, ParseLoad(f, data)...)
	}
	if files, _, err = systemd.ConfFiles(root, dirs("modprobe.d")); err != nil {
		return nil, err
	}
	for _, f := range files {
		data, err := source.ReadFile(root, f, source.MaxFile)
		if err != nil {
			return nil, err
		}
		c.Modprobe = append(c.Modprobe, ParseModprobe(f, data)...)
	}
	return c, c.kernels(root)
}

// ParseLoad reads one file of modules-load.d.
func ParseLoad(file string, data []byte) []Entry {
	var out []Entry
	for _, l := range source.Lines(file, data) {
		text := strings.TrimSpace(l.Text)
		if text == "" || text[0] == '#' || text[0] == ';' {
			continue
		}
		out = append(out, Entry{Command: "load", Module: Normalize(text), Pos: l.Pos})
	}
	return out
}

// ParseModprobe reads one file of modprobe.d, with its continuation lines.
func ParseModprobe(file string, data []byte) []Entry {
	var (
		out   []Entry
		text  strings.Builder
		start source.Position
		open  bool
	)
	flush := func() {
		words := strings.Fields(text.String())
		text.Reset()
		open = false
		if len(words) < 2 || words[0][0] == '#' {
			return
		}
		switch words[0] {
		case "blacklist", "install", "alias", "options", "softdep", "weakdep", "remove":
			out = append(out, Entry{words[0], Normalize(words[1]), strings.Join(words[2:], " "), start})
		}
	}
	for _, l := range source.Lines(file, data) {
		if !open {
			start = l.Pos
		}
		if t, ok := strings.CutSuffix(l.Text, "\\"); ok {
			text.WriteString(t + " ")
			open = true
			continue
		}
		text.WriteString(l.Text)
		flush()
	}
	if open {
		flush()
	}
	return out
}

// Normalize turns hyphens into underscores, which kmod takes as the same.
func Normalize(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Loads returns the line that loads the module at boot.
func (c *Config) Loads(module string) (Entry, bool) {
	module = Normalize(module)
	for _, e := range c.Load {
		if e.Module == module {
			return e, true
		}
	}
	return Entry{}, false
}

// Blocked returns the line that keeps the module from being loaded by
// systemd-modules-load, which honours blacklists, unlike a plain modprobe:
// a blacklist, or an install command that does nothing.
func (c *Config) Blocked(module string) (Entry, bool) {
	module = Normalize(module)
	for _, e := range c.Modprobe {
		if e.Module != module {
			continue
		}
		if e.Command == "blacklist" || e.Command == "install" && inert(e.Args) {
			return e, true
		}
	}
	return Entry{}, false
}

// inert recognizes the commands that stand for "do not load".
func inert(command string) bool {
	words := strings.Fields(command)
	if len(words) == 0 {
		return true
	}
	switch path.Base(words[0]) {
	case "true", "false", ":", "nologin", "exit":
		return true
	case "echo":
		return !strings.Contains(command, "modprobe") && !strings.Contains(command, "insmod")
	}
	return false
}

// Has says how the kernel brings a module: "module", "builtin", or "" if it does not.
func (k Kernel) Has(module string) string {
	module = Normalize(module)
	switch {
	case k.builtin[module]:
		return "builtin"
	case k.loadable[module]:
		return "module"
	}
	return ""
}

func (c *Config) kernels(root fs.FS) error {
	for _, base := range []string{"/usr/lib/modules", "/lib/modules"} {
		es, err := source.ReadDir(root, base)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range es {
			k := Kernel{Release: e.Name(), Dir: path.Join(base, e.Name())}
			if k.loadable, err = index(root, path.Join(k.Dir, "modules.dep"), ':'); err != nil {
				return err
			}
			if k.builtin, err = index(root, path.Join(k.Dir, "modules.builtin"), '\n'); err != nil {
				return err
			}
			if k.loadable != nil || k.builtin != nil {
				c.Kernels = append(c.Kernels, k)
			}
		}
		if len(c.Kernels) > 0 {
			break // on a merged /usr both are one
		}
	}
	sort.Slice(c.Kernels, func(i, j int) bool { return c.Kernels[i].Release < c.Kernels[j].Release })
	return nil
}

// index reads the module names out of a file whose lines start with a path
// that ends at sep. A missing file gives a nil map.
func index(root fs.FS, p string, sep byte) (map[string]bool, error) {
	data, err := source.ReadFile(root, p, maxIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	s := bufio.NewScanner(bytes.NewReader(data))
	s.Buffer(nil, maxIndex)
	for s.Scan() {
		name, _, _ := strings.Cut(s.Text(), string(sep))
		name = path.Base(name)
		if i := strings.Index(name, ".ko"); i > 0 {
			out[Normalize(name[:i])] = true
		}
	}
	return out, s.Err()
}
