// Package bootloader finds the kernel command lines that an image boots with,
// in the files of its boot loader, and those that tools will write the next
// time a kernel is installed.
package bootloader

import (
	"errors"
	"io/fs"
	"path"
	"sort"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
)

// Arg is one word of a kernel command line.
type Arg struct {
	Key, Value string
	HasValue   bool
	Pos        source.Position
}

func (a Arg) String() string {
	if a.HasValue {
		return a.Key + "=" + a.Value
	}
	return a.Key
}

// CommandLine is a kernel command line in order.
type CommandLine []Arg

// Last returns the last word with this key: the kernel lets it win. Hyphens
// and underscores are the same to the kernel.
func (c CommandLine) Last(key string) (Arg, bool) {
	for i := len(c) - 1; i >= 0; i-- {
		if same(c[i].Key, key) {
			return c[i], true
		}
	}
	return Arg{}, false
}

// All returns every word with this key, for those that add up (module_blacklist, console).
func (c CommandLine) All(key string) []Arg {
	var out []Arg
	for _, a := range c {
		if same(a.Key, key) {
			out = append(out, a)
		}
	}
	return out
}

func (c CommandLine) String() string {
	words := make([]string, len(c))
	for i, a := range c {
		words[i] = a.String()
	}
	return strings.Join(words, " ")
}

func same(a, b string) bool {
	return strings.ReplaceAll(a, "-", "_") == strings.ReplaceAll(b, "-", "_")
}

// Entry is one thing that the boot loader can boot.
type Entry struct {
	Loader  string // grub or bls
	Title   string
	ID      string
	Kernel  string // as the loader names it
	Args    CommandLine
	Default bool
	// Recovery entries boot a single-user system that is no node.
	Recovery bool
	Pos      source.Position
}

// Intent is a command line that takes effect when the boot loader's files are
// written again: by update-grub or by kernel-install.
type Intent struct {
	Source string // grub-default or kernel-install
	Args   CommandLine
}

// Config is what an image's boot loader does.
type Config struct {
	Entries []Entry
	Intents []Intent
	Files   []string
}

// Boots lists the entries that boot a node: all but recovery entries. A check
// wants each of them right, since after the next kernel update or a failed
// boot it may be any of them.
func (c *Config) Boots() []Entry {
	var out []Entry
	for _, e := range c.Entries {
		if !e.Recovery {
			out = append(out, e)
		}
	}
	return out
}

// Load reads the boot loader's files. The EFI system partition is looked for
// where an installed system mounts it.
func Load(root fs.FS) (*Config, error) {
	c := &Config{}
	for _, pattern := range []string{
		"/boot/grub/grub.cfg", "/boot/grub2/grub.cfg",
		"/boot/efi/grub/grub.cfg", "/boot/efi/EFI/*/grub.cfg", "/efi/EFI/*/grub.cfg", "/boot/EFI/*/grub.cfg",
	} {
		files, err := source.Glob(root, pattern)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			data, ok, err := c.read(root, f)
			if err != nil {
				return nil, err
			}
			if ok {
				c.Entries = append(c.Entries, ParseGrub(f, data)...)
			}
		}
	}
	for _, dir := range []string{"/boot/loader", "/efi/loader", "/boot/efi/loader"} {
		if err := c.bls(root, dir); err != nil {
			return nil, err
		}
	}
	if err := c.grubDefaults(root); err != nil {
		return nil, err
	}
	for _, f := range []string{"/etc/kernel/cmdline", "/usr/lib/kernel/cmdline"} {
		data, ok, err := c.read(root, f)
		if err != nil {
			return nil, err
		}
		if ok {
			in := Intent{Source: "kernel-install"}
			for _, l := range source.Lines(f, data) {
				in.Args = append(in.Args, args(l.Text, l.Pos)...)
			}
			c.Intents = append(c.Intents, in)
			break // the one in /etc wins
		}
	}
	return c, nil
}

func (c *Config) read(root fs.FS, p string) ([]byte, bool, error) {
	data, err := source.ReadFile(root, p, source.MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	c.Files = append(c.Files, p)
	return data, true, nil
}

// bls reads the entries of the Boot Loader Specification, type 1.
func (c *Config) bls(root fs.FS, dir string) error {
	files, err := source.Glob(root, path.Join(dir, "entries/*.conf"))
	if err != nil || len(files) == 0 {
		return err
	}
	def := ""
	if data, ok, err := c.read(root, path.Join(dir, "loader.conf")); err != nil {
		return err
	} else if ok {
		for _, l := range source.Lines("", data) {
			if k, v, ok := strings.Cut(strings.TrimSpace(l.Text), " "); ok && k == "default" {
				def = strings.TrimSpace(v)
			}
		}
	}
	for _, f := range files {
		data, ok, err := c.read(root, f)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		e := ParseBLS(f, data)
		id := path.Base(f)
		if def != "" {
			m1, _ := path.Match(def, id)
			m2, _ := path.Match(def, strings.TrimSuffix(id, ".conf"))
			e.Default = m1 || m2
		}
		c.Entries = append(c.Entries, e)
	}
	return nil
}

// ParseBLS reads one entry. Several options lines add up.
func ParseBLS(file string, data []byte) Entry {
	e := Entry{Loader: "bls", ID: strings.TrimSuffix(path.Base(file), ".conf"), Pos: source.Position{File: file}}
	for _, l := range source.Lines(file, data) {
		words := strings.Fields(l.Text)
		if len(words) < 2 || words[0][0] == '#' {
			continue
		}
		rest := strings.TrimSpace(strings.TrimSpace(l.Text)[len(words[0]):])
		switch words[0] {
		case "title":
			e.Title = rest
		case "linux":
			e.Kernel = rest
		case "options":
			e.Args = append(e.Args, args(rest, l.Pos)...)
		}
	}
	e.Recovery = recovery(e.Title, e.Args)
	return e
}

// grubDefaults reads /etc/default/grub and its drop-ins, which grub-mkconfig
// sources in that order.
func (c *Config) grubDefaults(root fs.FS) error {
	files, err := source.Glob(root, "/etc/default/grub.d/*.cfg")
	if err != nil {
		return err
	}
	sort.Strings(files)
	vars := map[string]systemd.Variable{}
	seen := false
	for _, f := range append([]string{"/etc/default/grub"}, files...) {
		data, ok, err := c.read(root, f)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		seen = true
		for _, v := range systemd.ParseEnvironment(f, data) {
			// Drop-ins extend what is there: GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX x".
			v.Value = expand(v.Value, func(name string) string { return vars[name].Value })
			vars[v.Name] = v
		}
	}
	if !seen {
		return nil
	}
	in := Intent{Source: "grub-default"}
	for _, name := range []string{"GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"} {
		in.Args = append(in.Args, args(vars[name].Value, vars[name].Pos)...)
	}
	c.Intents = append(c.Intents, in)
	return nil
}

// maxValue bounds an expanded value: A="$A$A" doubles it with every line.
const maxValue = 1 << 16

// expand replaces $name and ${name}. What exceeds maxValue is cut off.
func expand(s string, value func(string) string) string {
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() < maxValue; {
		if s[i] != '$' {
			b.WriteByte(s[i])
			i++
			continue
		}
		j := i + 1
		if j < len(s) && s[j] == '{' {
			if end := strings.IndexByte(s[j:], '}'); end > 0 {
				b.WriteString(value(s[j+1 : j+end]))
				i = j + end + 1
				continue
			}
		}
		for j < len(s) && (s[j] == '_' || s[j] >= '0' && s[j] <= '9' || s[j] >= 'A' && s[j] <= 'Z' || s[j] >= 'a' && s[j] <= 'z') {
			j++
		}
		if j == i+1 {
			b.WriteByte('$')
		} else {
			b.WriteString(value(s[i+1 : j]))
		}
		i = j
	}
	return b.String()
}

// args splits a kernel command line: double quotes keep blanks together.
func args(s string, pos source.Position) CommandLine {
	var (
		out   CommandLine
		word  strings.Builder
		quote bool
	)
	flush := func() {
		if word.Len() == 0 {
			return
		}
		k, v, ok := strings.Cut(word.String(), "=")
		out = append(out, Arg{k, v, ok, pos})
		word.Reset()
	}
	for _, c := range s {
		switch {
		case c == '"':
			quote = !quote
		case (c == ' ' || c == '\t' || c == '\n') && !quote:
			flush()
		default:
			word.WriteRune(c)
		}
	}
	flush()
	return out
}

func recovery(title string, c CommandLine) bool {
	for _, k := range []string{"single", "s", "S", "1", "recovery", "emergency", "rescue"} {
		if a, ok := c.Last(k); ok && !a.HasValue {
			return true
		}
	}
	if a, ok := c.Last("systemd.unit"); ok && (a.Value == "rescue.target" || a.Value == "emergency.target") {
		return true
	}
	return strings.Contains(strings.ToLower(title), "(recovery mode)") || strings.Contains(strings.ToLower(title), "rescue")
}
