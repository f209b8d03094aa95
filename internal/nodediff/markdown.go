package nodediff

import (
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown prints the report as GitHub's Markdown, for a pull request or a
// release. Values are in code spans, so that nothing in an image is taken for
// markup.
func (r Report) WriteMarkdown(w io.Writer, opts TextOptions) error {
	limit := shown
	if opts.All {
		limit = 0
	}
	m := &markdown{limit: limit}
	m.line("### %s (%s) → %s (%s)", code(r.A.Path), r.A.Kind, code(r.B.Path), r.B.Kind)
	var same []string
	for _, t := range r.Topics {
		if len(t.Changes) == 0 {
			same = append(same, fmt.Sprintf("%s (%d)", t.Name, t.Total))
			continue
		}
		m.line("")
		m.line("#### %s: %s", t.Name, t.counts())
		var rows [][]string
		for _, c := range t.Changes {
			rows = append(rows, []string{sign(c.Kind), code(c.Key), cell(c.A), cell(c.B), cell(c.from())})
		}
		m.table([]string{"", "key", "A", "B", "from"}, rows)
	}
	if r.Files != nil && r.Files.Total > 0 {
		m.line("")
		m.line("#### files: %d differ, of %d and %d%s", r.Files.Total, r.Files.CountA, r.Files.CountB, r.Files.note())
		var rows [][]string
		for _, g := range r.Files.groups() {
			if limit > 0 && g.owner != "" && len(g.files) > 5 {
				rows = append(rows, []string{"", g.owner, kinds(g.files), ""})
				continue
			}
			for _, c := range g.files {
				rows = append(rows, []string{sign(c.Kind), g.owner, code(c.Path), cell(c.details())})
			}
		}
		m.table([]string{"", "brought by", "file", "what"}, rows)
	}
	if d := r.Disk; d != nil && !d.Same() {
		m.line("")
		m.line("#### bytes of the disk: %s in %d ranges differ", size3(d.TotalBytes), d.TotalRanges)
		var rows [][]string
		for _, x := range d.Ranges {
			rows = append(rows, []string{fmt.Sprint(x.Start), fmt.Sprint(x.Length), x.Where, fmt.Sprint(x.Offset)})
		}
		m.table([]string{"start", "length", "where", "offset there"}, rows)
	}
	if len(same) > 0 {
		m.line("")
		m.line("The same: %s.", strings.Join(same, ", "))
	}
	for _, l := range r.reasons() {
		m.line("")
		m.line("Not compared: %s: %s.", l.Topic, cell(l.Reason))
	}
	if r.Same {
		m.line("")
		m.line("No difference in what was compared.")
	}
	_, err := io.WriteString(w, m.b.String())
	return err
}

type markdown struct {
	b     strings.Builder
	limit int
}

func (m *markdown) line(format string, args ...any) { fmt.Fprintf(&m.b, format+"\n", args...) }

func (m *markdown) table(head []string, rows [][]string) {
	rest := 0
	if m.limit > 0 && len(rows) > m.limit+1 {
		rest = len(rows) - m.limit
		rows = rows[:m.limit]
	}
	m.line("")
	m.line("| %s |", strings.Join(head, " | "))
	m.line("|%s", strings.Repeat("---|", len(head)))
	for _, row := range rows {
		m.line("| %s |", strings.Join(row, " | "))
	}
	if rest > 0 {
		m.line("")
		m.line("And %d more.", rest)
	}
}

// cell is a code span, or nothing for no value.
func cell(s string) string {
	if s == "" {
		return ""
	}
	return code(s)
}

// code makes a code span that s cannot end, in one cell of a table.
func code(s string) string {
	s = strings.ReplaceAll(quoted(s), "|", `\|`)
	ticks, run := 0, 0
	for _, r := range s {
		if run++; r != '`' {
			run = 0
		}
		ticks = max(ticks, run)
	}
	fence := strings.Repeat("`", ticks+1)
	if ticks > 0 {
		return fence + " " + s + " " + fence
	}
	return fence + s + fence
}
