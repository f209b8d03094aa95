package profiles

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with a profile, where it stands, and what would
// be right.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line"`   // from 1; 0 when the file as a whole is meant
	Column int    `json:"column"` // from 1, in characters; 0 when only the line is known
	// Path is the key in YAML: components.runc.version, archive.sources[0].uri.
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems is everything wrong with a profile, in the order of file, line and
// column. Load returns it tagged as bad input (exit code 2); errors.As finds it.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		for _, c := range []int{strings.Compare(a.File, b.File), a.Line - b.Line, a.Column - b.Column,
			strings.Compare(a.Path, b.Path), strings.Compare(a.Message, b.Message)} {
			if c != 0 {
				return c
			}
		}
		return 0
	})
}
