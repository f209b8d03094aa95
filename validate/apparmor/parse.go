package apparmor

import (
	"fmt"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
)

const (
	// maxExpansions bounds what one attachment's variables multiply to.
	maxExpansions = 256
	maxPattern    = 4096
	maxNesting    = 32
)

// token is a word of a policy file, a brace that opens or closes a block, or
// the comma that ends a rule.
type token struct {
	text   string
	quoted bool
	pos    source.Position
}

// Parse reads the profiles of one file. vars are the tunables; the file may
// add its own.
func Parse(file string, data []byte, vars map[string][]string) ([]Profile, []systemd.Problem) {
	local := map[string][]string{}
	for k, v := range vars {
		local[k] = v
	}
	for _, l := range source.Lines(file, data) {
		assign(local, l.Text)
	}
	p := &parser{vars: local, tokens: tokens(file, data)}
	p.run()
	for i := range p.out {
		p.out[i].ABI = p.abi
	}
	return p.out, p.problems
}

type parser struct {
	tokens   []token
	vars     map[string][]string
	out      []Profile
	problems []systemd.Problem
	abi      string
}

func (p *parser) run() {
	var (
		stack []string // names of the open profiles; "" for other blocks
		head  []token  // the statement so far
	)
	for _, t := range p.tokens {
		switch {
		case t.text == "{" && !t.quoted:
			if len(stack) == maxNesting {
				p.problems = append(p.problems, systemd.Problem{Text: fmt.Sprintf("blocks are nested more than %d levels deep", maxNesting), Pos: t.pos})
				return
			}
			stack = append(stack, p.block(head, stack, t.pos))
			head = nil
		case t.text == "}" && !t.quoted:
			head = nil
			if len(stack) == 0 {
				p.problems = append(p.problems, systemd.Problem{Text: "closing brace without a block", Pos: t.pos})
				continue
			}
			stack = stack[:len(stack)-1]
		case t.text == "," && !t.quoted:
			if len(head) == 2 && head[0].text == "abi" {
				p.abi = strings.Trim(head[1].text, "<>")
			}
			head = nil
		case t.text == "\n":
			// Preamble lines need no comma; rules go on until theirs.
			if len(stack) == 0 && len(head) > 0 && (strings.HasPrefix(head[0].text, "@{") || head[0].text == "include" || head[0].text == "#include" || head[0].text == "alias") {
				head = nil
			}
		default:
			head = append(head, t)
		}
	}
	if len(stack) > 0 {
		p.problems = append(p.problems, systemd.Problem{Text: "a block is not closed", Pos: p.tokens[len(p.tokens)-1].pos})
	}
}

// block looks at the words before an opening brace. It returns the name of
// the profile that they start, "" for other blocks (if, qualifier blocks).
func (p *parser) block(head []token, stack []string, brace source.Position) string {
	if len(head) == 0 {
		return ""
	}
	parent := ""
	for _, s := range stack {
		if s != "" {
			parent = s
		}
	}
	pr := Profile{Parent: parent, Pos: head[0].pos}
	words := head
	keyword := ""
	switch first := head[0].text; {
	case head[0].quoted:
	case first == "profile" || first == "hat":
		keyword, words = first, head[1:]
	case strings.HasPrefix(first, "^"):
		keyword = "hat"
		words = append([]token{{text: first[1:], pos: head[0].pos}}, head[1:]...)
	}
	if keyword == "" && !head[0].quoted && !strings.HasPrefix(head[0].text, "/") && !strings.HasPrefix(head[0].text, "@{") {
		return ""
	}
	var names []token
	for i := 0; i < len(words); i++ {
		w := words[i].text
		switch {
		case words[i].quoted:
			names = append(names, words[i])
		case strings.HasPrefix(w, "flags"), strings.HasPrefix(w, "("):
			var rest strings.Builder
			for ; i < len(words); i++ {
				rest.WriteString(words[i].text + " ")
				if strings.Contains(words[i].text, ")") {
					break
				}
			}
			pr.Flags = append(pr.Flags, flags(rest.String())...)
		case strings.HasPrefix(w, "xattrs"):
			for i < len(words) && !strings.Contains(words[i].text, ")") {
				i++
			}
		default:
			names = append(names, words[i])
		}
	}
	if len(names) == 0 {
		p.problems = append(p.problems, systemd.Problem{Text: "profile without a name", Pos: brace})
		return ""
	}
	pr.Name = names[0].text
	attach := ""
	switch {
	case len(names) > 1:
		attach = names[1].text
	case keyword != "hat" && (strings.HasPrefix(pr.Name, "/") || strings.HasPrefix(pr.Name, "@{")):
		attach = pr.Name // named after its path
	}
	if attach != "" {
		pr.Attachments = expand(attach, p.vars)
	}
	if parent != "" {
		pr.Name = parent + "//" + pr.Name
	}
	p.out = append(p.out, pr)
	return pr.Name
}

func flags(s string) []string {
	open, close := strings.IndexByte(s, '('), strings.IndexByte(s, ')')
	if open < 0 || close < open {
		return nil
	}
	return strings.FieldsFunc(s[open+1:close], func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// expand replaces variables, each of whose values makes a pattern of its own.
func expand(s string, vars map[string][]string) []string {
	out := []string{s}
	for range maxNesting {
		var next []string
		add := func(p string) {
			if len(next) < maxExpansions && len(p) < maxPattern {
				next = append(next, p)
			}
		}
		changed := false
		for _, p := range out {
			start := strings.Index(p, "@{")
			end := -1
			if start >= 0 {
				end = strings.IndexByte(p[start:], '}')
			}
			values, ok := []string(nil), false
			if end > 0 {
				values, ok = vars[p[start+2:start+end]]
			}
			if !ok {
				add(p)
				continue
			}
			changed = true
			for _, v := range values {
				add(p[:start] + v + p[start+end+1:])
			}
		}
		out = next
		if !changed {
			break
		}
	}
	for i := range out {
		for strings.Contains(out[i], "//") {
			out[i] = strings.ReplaceAll(out[i], "//", "/") // @{HOMEDIRS}/ and the like
		}
	}
	return out
}

// tokens splits a file into words, single braces and commas, and line ends.
// Braces inside of a path are alternations and belong to their word.
func tokens(file string, data []byte) []token {
	var out []token
	for _, l := range source.Lines(file, data) {
		s := l.Text
		for i := 0; i < len(s); {
			c := s[i]
			switch {
			case c == ' ' || c == '\t' || c == '\r':
				i++
			case c == '#' && !strings.HasPrefix(s[i:], "#include"):
				i = len(s)
			case c == '"':
				end := strings.IndexByte(s[i+1:], '"')
				if end < 0 {
					end = len(s) - i - 1
				}
				out = append(out, token{s[i+1 : i+1+end], true, l.Pos})
				i = min(i+end+2, len(s))
			case c == '{' || c == '}' || c == ',':
				out = append(out, token{string(c), false, l.Pos})
				i++
			default:
				end := max(wordEnd(s, i), i+1)
				out = append(out, token{s[i:end], false, l.Pos})
				i = end
			}
		}
		out = append(out, token{"\n", false, l.Pos})
	}
	return out
}

// wordEnd finds the end of the word at i: a blank, or a comma that ends the
// rule. Inside of braces, brackets and parentheses both are part of the word.
func wordEnd(s string, i int) int {
	depth := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '{', '[', '(':
			depth++
		case '}':
			if depth == 0 {
				return i
			}
			depth--
		case ']', ')':
			depth = max(depth-1, 0)
		case ' ', '\t', '\r':
			if depth == 0 {
				return i
			}
		case ',':
			if depth == 0 && (i+1 == len(s) || strings.IndexByte(" \t\r}", s[i+1]) >= 0) {
				return i
			}
		case '"':
			if depth == 0 {
				return i
			}
		}
	}
	return len(s)
}
