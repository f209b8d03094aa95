package bootloader

import (
	"strconv"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// maxExpanded bounds what the variables of one file add up to.
const maxExpanded = 8 << 20

// word is one word of a grub.cfg; quoted words are no keywords or braces.
type word struct {
	text   string
	quoted bool
}

// ParseGrub reads the menu entries of a grub.cfg. It follows plain `set`
// assignments and does not run conditions: of `if … else …` both branches
// count, so nothing that might boot is missed.
func ParseGrub(file string, data []byte) []Entry {
	g := &grub{vars: map[string]string{}, file: file}
	for _, cmd := range commands(string(data)) {
		g.command(cmd)
	}
	g.markDefault()
	return g.entries
}

type command struct {
	words []word
	line  int
}

type grub struct {
	file string
	vars map[string]string
	// expanded counts the bytes that variables have come to.
	expanded int
	entries  []Entry
	current  *Entry   // inside of a menuentry
	blocks   []string // what each open brace belongs to
	paths    []string // position of each entry as `default` counts: 0, 1>2
	counts   []int    // entries seen so far at each submenu level
	titles   []string // titles of the open submenus
	names    []string // title path of each entry: "Advanced>Linux"
}

func (g *grub) command(c command) {
	if len(c.words) == 0 {
		return
	}
	if len(g.counts) == 0 {
		g.counts = []int{0}
	}
	switch name := c.words[0].text; {
	case c.words[0].quoted:
	case name == "menuentry" || name == "submenu":
		g.open(name, c)
		return
	case name == "}":
		g.close()
		return
	case name == "set":
		if len(c.words) > 1 {
			g.set(c.words[1].text)
		}
	case name == "linux" || name == "linux16" || name == "linuxefi" || name == "linuxe":
		g.linux(c)
	case strings.Contains(name, "=") && len(c.words) == 1:
		g.set(name)
	}
	if last := c.words[len(c.words)-1]; last.text == "{" && !last.quoted {
		g.blocks = append(g.blocks, "function")
	}
}

func (g *grub) set(assignment string) {
	k, v, ok := strings.Cut(assignment, "=")
	if !ok {
		return
	}
	g.vars[k] = g.expand(v)
}

func (g *grub) expand(s string) string {
	if !strings.Contains(s, "$") {
		return s
	}
	if g.expanded > maxExpanded {
		return ""
	}
	s = expand(s, func(name string) string { return g.vars[name] })
	g.expanded += len(s)
	return s
}

func (g *grub) open(kind string, c command) {
	title, id := "", ""
	for i := 1; i < len(c.words); i++ {
		t := c.words[i].text
		switch {
		case c.words[i].quoted || !strings.HasPrefix(t, "-") && t != "{" && !strings.HasPrefix(t, "$"):
			if title == "" {
				title = g.expand(t)
			}
		case t == "--id" || strings.HasPrefix(t, "$menuentry_id_option"):
			if i+1 < len(c.words) {
				i++
				id = g.expand(c.words[i].text)
			}
		case t == "--class" || t == "--users" || t == "--hotkey":
			i++
		case strings.HasPrefix(t, "--id="):
			id = g.expand(strings.TrimPrefix(t, "--id="))
		}
	}
	level := len(g.counts) - 1
	at := strconv.Itoa(g.counts[level])
	if level > 0 {
		at = strings.Join(g.parents(), ">") + ">" + at
	}
	g.counts[level]++
	g.blocks = append(g.blocks, kind)
	if kind == "submenu" {
		g.counts = append(g.counts, 0)
		g.titles = append(g.titles, title)
		return
	}
	g.current = &Entry{Loader: "grub", Title: title, ID: id, Pos: source.Position{File: g.file, Line: c.line}}
	g.paths = append(g.paths, at)
	g.names = append(g.names, strings.Join(append(append([]string{}, g.titles...), title), ">"))
}

// parents are the positions of the open submenus.
func (g *grub) parents() []string {
	var out []string
	for _, n := range g.counts[:len(g.counts)-1] {
		out = append(out, strconv.Itoa(n-1))
	}
	return out
}

func (g *grub) close() {
	if len(g.blocks) == 0 {
		return
	}
	kind := g.blocks[len(g.blocks)-1]
	g.blocks = g.blocks[:len(g.blocks)-1]
	switch {
	case kind == "submenu" && len(g.counts) > 1:
		g.counts = g.counts[:len(g.counts)-1]
		g.titles = g.titles[:len(g.titles)-1]
	case kind == "menuentry" && g.current != nil:
		if g.current.Kernel == "" {
			// Boots no kernel: firmware setup, another loader.
			g.paths, g.names = g.paths[:len(g.paths)-1], g.names[:len(g.names)-1]
		} else {
			g.current.Recovery = recovery(g.current.Title, g.current.Args)
			g.entries = append(g.entries, *g.current)
		}
		g.current = nil
	}
}

func (g *grub) linux(c command) {
	if len(c.words) < 2 {
		return
	}
	pos := source.Position{File: g.file, Line: c.line}
	if g.current == nil {
		// A kernel outside of a menu: what is booted without one.
		e := Entry{Loader: "grub", Default: true, Pos: pos, Kernel: g.expand(c.words[1].text)}
		e.Args = g.args(c.words[2:], pos)
		e.Recovery = recovery("", e.Args)
		g.entries = append(g.entries, e)
		g.paths, g.names = append(g.paths, "-"), append(g.names, "-")
		return
	}
	g.current.Kernel = g.expand(c.words[1].text)
	g.current.Args = g.args(c.words[2:], pos)
}

func (g *grub) args(words []word, pos source.Position) CommandLine {
	var out CommandLine
	for _, w := range words {
		text := g.expand(w.text)
		if w.quoted && strings.Contains(w.text, "=") {
			k, v, _ := strings.Cut(text, "=")
			out = append(out, Arg{k, v, true, pos})
			continue
		}
		out = append(out, args(text, pos)...)
	}
	return out
}

// markDefault resolves `set default=`: a number, a path of numbers, a title,
// a path of titles, or an ID. Anything computed at boot leaves the first entry.
func (g *grub) markDefault() {
	want := g.vars["default"]
	if want == "" || strings.Contains(want, "$") {
		want = "0"
	}
	_, leaf, nested := cutLast(want, ">")
	for i := range g.entries {
		e := &g.entries[i]
		switch {
		case g.paths[i] == want, g.names[i] == want, e.Title == want && !nested, e.ID != "" && (e.ID == want || nested && e.ID == leaf):
			e.Default = true
			return
		}
	}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// commands splits a grub.cfg into commands at line ends, semicolons and braces.
func commands(text string) []command {
	var (
		out   []command
		cur   command
		buf   strings.Builder
		have  bool
		quote bool // the word being read had quotes
		line  = 1
	)
	flushWord := func() {
		if have {
			cur.words = append(cur.words, word{buf.String(), quote})
		}
		buf.Reset()
		have, quote = false, false
	}
	flush := func() {
		flushWord()
		if len(cur.words) > 0 {
			out = append(out, cur)
		}
		cur = command{}
	}
	begin := func() {
		if len(cur.words) == 0 && !have {
			cur.line = line
		}
		have = true
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			if text[i] == '\n' {
				line++
				continue
			}
			begin()
			buf.WriteByte(text[i])
		case c == '\'' || c == '"':
			begin()
			quote = true
			for i++; i < len(text) && text[i] != c; i++ {
				if c == '"' && text[i] == '\\' && i+1 < len(text) {
					i++
				}
				if text[i] == '\n' {
					line++
				}
				buf.WriteByte(text[i])
			}
		case c == '\n':
			flush()
			line++
		case c == ';':
			flush()
		case c == ' ' || c == '\t' || c == '\r':
			flushWord()
		case c == '#' && !have:
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
		case c == '{' && !have:
			begin()
			buf.WriteByte(c)
			flush()
		case c == '}' && !have:
			flush()
			begin()
			buf.WriteByte(c)
			flush()
		default:
			begin()
			buf.WriteByte(c)
		}
	}
	flush()
	return out
}
