package systemd

import (
	"fmt"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// Assignment is one KEY=VALUE of a unit file or of a configuration file of
// systemd, with its continuation lines joined.
type Assignment struct {
	Section string
	Key     string
	Value   string
	Pos     source.Position
}

// Problem is a line that systemd ignores with a warning.
type Problem struct {
	Text string
	Pos  source.Position
}

// Parse reads the syntax that unit files and systemd's *.conf files share.
// Like systemd it goes on after a bad line.
func Parse(file string, data []byte) ([]Assignment, []Problem) {
	var (
		out      []Assignment
		problems []Problem
		section  string
		pending  strings.Builder // text of the lines so far that ended in a backslash
		start    source.Position
		open     bool
	)
	statement := func(text string, pos source.Position) {
		text = strings.TrimSpace(text)
		if text == "" {
			return
		}
		if text[0] == '[' {
			if !strings.HasSuffix(text, "]") || len(text) == 2 {
				problems = append(problems, Problem{fmt.Sprintf("invalid section header %q", text), pos})
				section = ""
				return
			}
			section = text[1 : len(text)-1]
			return
		}
		key, value, ok := strings.Cut(text, "=")
		key = strings.TrimSpace(key)
		switch {
		case section == "":
			problems = append(problems, Problem{"assignment outside of a section", pos})
		case !ok:
			problems = append(problems, Problem{fmt.Sprintf("missing '=' in %q", text), pos})
		case key == "":
			problems = append(problems, Problem{"missing key name before '='", pos})
		default:
			out = append(out, Assignment{section, key, strings.TrimSpace(value), pos})
		}
	}
	for _, l := range source.Lines(file, []byte(strings.TrimPrefix(string(data), "\ufeff"))) {
		text := strings.TrimLeft(l.Text, " \t")
		if text != "" && (text[0] == '#' || text[0] == ';') {
			continue // also between continuation lines
		}
		if !open {
			start = l.Pos
		}
		if continues(text) {
			pending.WriteString(strings.TrimSuffix(text, "\\") + " ")
			open = true
			continue
		}
		pending.WriteString(text)
		statement(pending.String(), start)
		pending.Reset()
		open = false
	}
	if open {
		statement(pending.String(), start)
	}
	return out, problems
}

// continues reports whether a line ends in a backslash that no other escapes.
func continues(text string) bool {
	n := len(text) - len(strings.TrimRight(text, "\\"))
	return n%2 == 1
}

// Settings are assignments in the order in which they take effect.
type Settings []Assignment

// Last returns the value that a key with a single value ends up with. An
// empty assignment takes the key back to its default.
func (s Settings) Last(section, key string) (Assignment, bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if a := s[i]; a.Section == section && a.Key == key {
			return a, a.Value != ""
		}
	}
	return Assignment{}, false
}

// All returns the values of a key that adds up. An empty assignment drops
// what came before it.
func (s Settings) All(section, key string) []Assignment {
	var out []Assignment
	for _, a := range s {
		if a.Section != section || a.Key != key {
			continue
		}
		if a.Value == "" {
			out = nil
			continue
		}
		out = append(out, a)
	}
	return out
}

// Words returns the values of an adding key, split at white space, each with
// the position of its assignment.
func (s Settings) Words(section, key string) []Assignment {
	var out []Assignment
	for _, a := range s.All(section, key) {
		words, err := Split(a.Value)
		if err != nil {
			words = strings.Fields(a.Value)
		}
		for _, w := range words {
			b := a
			b.Value = w
			out = append(out, b)
		}
	}
	return out
}

// Split cuts a value into words, with systemd's quotes and backslash escapes.
func Split(s string) ([]string, error) {
	var (
		out   []string
		word  strings.Builder
		in    bool
		quote byte
	)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			r, n, err := unescape(s[i+1:])
			if err != nil {
				return nil, err
			}
			word.WriteString(r)
			i += n
			in = true
		case quote != 0:
			if c == quote {
				quote = 0
				continue
			}
			word.WriteByte(c)
		case c == '"' || c == '\'':
			quote, in = c, true
		case c == ' ' || c == '\t' || c == '\n':
			if in {
				out = append(out, word.String())
				word.Reset()
				in = false
			}
		default:
			word.WriteByte(c)
			in = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("unbalanced quote %c", quote)
	}
	if in {
		out = append(out, word.String())
	}
	return out, nil
}

// unescape decodes what follows a backslash and says how many bytes it took.
func unescape(s string) (string, int, error) {
	if s == "" {
		return "", 0, fmt.Errorf("trailing backslash")
	}
	simple := map[byte]string{'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v",
		'\\': "\\", '"': "\"", '\'': "'", 's': " ", ' ': " "}
	if r, ok := simple[s[0]]; ok {
		return r, 1, nil
	}
	base, digits, skip := 0, 0, 0
	switch {
	case s[0] == 'x':
		base, digits, skip = 16, 2, 1
	case s[0] == 'u':
		base, digits, skip = 16, 4, 1
	case s[0] == 'U':
		base, digits, skip = 16, 8, 1
	case s[0] >= '0' && s[0] <= '7':
		base, digits = 8, 3
	default:
		// systemd warns and keeps an unknown escape as it stands.
		return "\\" + s[:1], 1, nil
	}
	if len(s) < skip+digits {
		return "", 0, fmt.Errorf("incomplete escape \\%s", s)
	}
	v := 0
	for _, c := range []byte(s[skip : skip+digits]) {
		d := strings.IndexByte("0123456789abcdef", c|0x20)
		if c >= '0' && c <= '9' {
			d = int(c - '0')
		}
		if d < 0 || d >= base {
			return "", 0, fmt.Errorf("invalid escape \\%s", s[:skip+digits])
		}
		v = v*base + d
	}
	if s[0] == 'u' || s[0] == 'U' {
		return string(rune(v)), skip + digits, nil
	}
	return string([]byte{byte(v)}), skip + digits, nil
}
