package apparmor

import (
	"fmt"
	"strings"
)

// maxAlternatives bounds the patterns that the braces of one stand for.
const maxAlternatives = 4096

// Match reports whether an AppArmor path pattern matches a path: * and ? stop
// at slashes, ** does not, [] is a class and {a,b} an alternation.
func Match(pattern, name string) (bool, error) {
	patterns, err := alternatives(pattern)
	if err != nil {
		return false, err
	}
	for _, p := range patterns {
		if glob(p, name) {
			return true, nil
		}
	}
	return false, nil
}

// alternatives multiplies out the braces.
func alternatives(pattern string) ([]string, error) {
	var out []string
	queue := []string{pattern}
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		start, end := braces(p)
		if start < 0 {
			if out = append(out, p); len(out) > maxAlternatives {
				return nil, fmt.Errorf("pattern %.80q stands for more than %d paths", pattern, maxAlternatives)
			}
			continue
		}
		for _, a := range splitTop(p[start+1 : end]) {
			queue = append(queue, p[:start]+a+p[end+1:])
		}
		if len(queue) > maxAlternatives {
			return nil, fmt.Errorf("pattern %.80q stands for more than %d paths", pattern, maxAlternatives)
		}
	}
	return out, nil
}

// braces finds the first group that is closed, -1 without one.
func braces(p string) (start, end int) {
	depth := 0
	start = -1
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case '{':
			if depth == 0 {
				start = i
			}
			depth++
		case '}':
			if depth == 0 {
				continue
			}
			if depth--; depth == 0 {
				return start, i
			}
		}
	}
	return -1, -1
}

func splitTop(s string) []string {
	var out []string
	depth, from := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '{':
			depth++
		case '}':
			depth--
		case ',':
			if depth == 0 {
				out = append(out, s[from:i])
				from = i + 1
			}
		}
	}
	return append(out, s[from:])
}

// glob matches without alternations. It keeps the set of states rather than
// going back, so that no pattern takes more than len(pattern)*len(name).
func glob(pattern, name string) bool {
	parts := compile(pattern)
	now := make([]bool, len(parts)+1)
	now[0] = true
	for i, p := range parts { // leading wildcards may match nothing
		if now[i] && p.many {
			now[i+1] = true
		}
	}
	for j := 0; j < len(name); j++ {
		next := make([]bool, len(parts)+1)
		for i, p := range parts {
			if !now[i] || !p.matches(name[j]) {
				continue
			}
			if p.many {
				next[i] = true
			} else {
				next[i+1] = true
			}
		}
		for i, p := range parts {
			if next[i] && p.many {
				next[i+1] = true
			}
		}
		now = next
	}
	return now[len(parts)]
}

// part is one element of a pattern.
type part struct {
	many  bool // * or **
	any   bool // any byte, with slash only if slash is set
	slash bool
	class string // of [..]
	not   bool
	lit   byte
}

func (p part) matches(c byte) bool {
	switch {
	case p.any:
		return p.slash || c != '/'
	case p.class != "":
		return inClass(p.class, c) != p.not
	}
	return p.lit == c
}

func compile(pattern string) []part {
	var out []part
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*':
			slash := i+1 < len(pattern) && pattern[i+1] == '*'
			if slash {
				i++
			}
			out = append(out, part{many: true, any: true, slash: slash})
		case '?':
			out = append(out, part{any: true})
		case '[':
			end := strings.IndexByte(pattern[i:], ']')
			if end < 2 {
				out = append(out, part{lit: c})
				continue
			}
			class := pattern[i+1 : i+end]
			rest, not := strings.CutPrefix(class, "^")
			if rest == "" {
				out = append(out, part{lit: c})
				continue
			}
			out = append(out, part{class: rest, not: not})
			i += end
		case '\\':
			if i+1 < len(pattern) {
				i++
			}
			out = append(out, part{lit: pattern[i]})
		default:
			out = append(out, part{lit: c})
		}
	}
	return out
}

func inClass(class string, c byte) bool {
	for i := 0; i < len(class); i++ {
		if i+2 < len(class) && class[i+1] == '-' {
			if class[i] <= c && c <= class[i+2] {
				return true
			}
			i += 2
			continue
		}
		if class[i] == c {
			return true
		}
	}
	return false
}
