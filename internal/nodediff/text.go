package nodediff

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/treediff"
)

// shown is how many lines of one topic, or of one owner's files, are printed
// unless all are asked for.
const shown = 25

// TextOptions says how a report is printed.
type TextOptions struct {
	All bool // every line, however many there are
}

// WriteJSON prints the report for machines: all of it.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteText prints the report for people: what is the same is summed up in one
// line, files are grouped by what brought them.
func (r Report) WriteText(w io.Writer, opts TextOptions) error {
	p := &printer{limit: shown}
	if opts.All {
		p.limit = 0
	}
	p.line("A: %s (%s)", r.A.Path, r.A.Kind)
	p.line("B: %s (%s)", r.B.Path, r.B.Kind)
	var same []string
	for _, t := range r.Topics {
		if len(t.Changes) == 0 {
			same = append(same, fmt.Sprintf("%s (%d)", t.Name, t.Total))
			continue
		}
		p.line("")
		p.line("%s: %s", t.Name, t.counts())
		rows := make([][]string, len(t.Changes))
		for i, c := range t.Changes {
			rows[i] = []string{"  " + sign(c.Kind) + " " + visible(c.Key), c.values(), c.from()}
		}
		p.table(rows)
	}
	if r.Files != nil {
		p.files(r.Files)
	}
	if r.Disk != nil {
		p.disk(r.Disk)
	}
	p.line("")
	if len(same) > 0 {
		p.line("the same: %s", strings.Join(same, ", "))
	}
	for _, l := range r.reasons() {
		p.line("not compared: %s: %s", l.Topic, visible(l.Reason))
	}
	if r.Same {
		p.line("no difference in what was compared")
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// reasons are what was not compared, with the topics of one reason together.
func (r Report) reasons() []Left {
	var all []Left
	for _, l := range r.Left {
		i := slices.IndexFunc(all, func(o Left) bool { return o.Reason == l.Reason })
		if i < 0 {
			all = append(all, l)
			continue
		}
		all[i].Topic += ", " + l.Topic
	}
	return all
}

// printer collects the text.
type printer struct {
	b     strings.Builder
	limit int // rows of a table, 0 for all
}

func (p *printer) line(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

// table prints rows in columns.
func (p *printer) table(rows [][]string) {
	rest := 0
	if p.limit > 0 && len(rows) > p.limit+1 {
		rest = len(rows) - p.limit
		rows = rows[:p.limit]
	}
	w := tabwriter.NewWriter(&p.b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for len(row) > 1 && row[len(row)-1] == "" {
			row = row[:len(row)-1]
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // into memory
	if rest > 0 {
		p.line("  and %d more; --all lists them", rest)
	}
}

func (t Topic) counts() string {
	count := map[treediff.Kind]int{}
	for _, c := range t.Changes {
		count[c.Kind]++
	}
	var parts []string
	for _, k := range []treediff.Kind{treediff.Changed, treediff.Added, treediff.Removed} {
		if count[k] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[k], k))
		}
	}
	return strings.Join(parts, ", ") + fmt.Sprintf(" of %d", t.Total)
}

// sign marks a line: + only in B, - only in A, ~ changed.
func sign(k treediff.Kind) string {
	switch k {
	case treediff.Added:
		return "+"
	case treediff.Removed:
		return "-"
	}
	return "~"
}

// values are what a change is about.
func (c Change) values() string {
	a, b := quoted(c.A), quoted(c.B)
	switch c.Kind {
	case treediff.Added:
		return b
	case treediff.Removed:
		return a
	}
	s := a + " -> " + b
	if c.Delta != 0 {
		mark := "+"
		n := c.Delta
		if n < 0 {
			mark, n = "-", -n
		}
		s += " (" + mark + size3(n) + ")"
	}
	return s
}

// from is the file and line that the value in B comes from, or A's where B has none.
func (c Change) from() string {
	switch {
	case c.FromB == "" || c.FromA == c.FromB:
		return visible(c.FromA)
	case c.FromA == "":
		return visible(c.FromB)
	}
	return visible(c.FromA) + " -> " + visible(c.FromB)
}

// maxValue is how much of one value is printed, in characters. All of it is
// in the JSON.
const maxValue = 160

func quoted(s string) string {
	if s == "" {
		return `""`
	}
	if r := []rune(visible(s)); len(r) > maxValue {
		return string(r[:maxValue]) + "…"
	}
	return visible(s)
}

// visible keeps the words of an image from steering the terminal.
func visible(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0xfffd }) < 0 {
		return s
	}
	q := fmt.Sprintf("%q", s)
	return q[1 : len(q)-1]
}

// group is the changed files of one owner.
type group struct {
	owner string
	files []FileChange
}

// groups sorts files by owner, in the order in which they come first; those
// of no owner are last, for they are what nothing else in the report explains.
func (f *Files) groups() []group {
	at := map[string]int{}
	var all []group
	for _, c := range f.Changes {
		i, ok := at[c.Owner]
		if !ok {
			i = len(all)
			at[c.Owner] = i
			all = append(all, group{owner: c.Owner})
		}
		all[i].files = append(all[i].files, c)
	}
	if i, ok := at[""]; ok {
		none := all[i]
		all = append(append(all[:i:i], all[i+1:]...), none)
	}
	return all
}

// files prints the files of each owner. A package that differs as a whole
// would drown everything else: its files are counted.
func (p *printer) files(f *Files) {
	if f.Total == 0 {
		p.line("")
		p.line("files: the same (%d)%s", f.CountA, f.note())
		return
	}
	p.line("")
	p.line("files: %d differ, of %d and %d%s", f.Total, f.CountA, f.CountB, f.note())
	const few = 5
	for _, g := range f.groups() {
		owner := g.owner
		if owner == "" {
			owner = "of no package or component"
		}
		if p.limit > 0 && g.owner != "" && len(g.files) > few {
			p.line("  %s: %s", visible(owner), kinds(g.files))
			continue
		}
		p.line("  %s:", visible(owner))
		rows := make([][]string, len(g.files))
		for i, c := range g.files {
			rows[i] = []string{"    " + sign(c.Kind) + " " + visible(c.Path), c.details()}
		}
		p.table(rows)
	}
	if rest := f.Total - len(f.Changes); rest > 0 {
		p.line("  %d more are counted and not listed", rest)
	}
}

func (f *Files) note() string {
	if f.MetadataOnly {
		return "; content was not compared, only type, mode, owner, attributes, size and links"
	}
	return ""
}

func kinds(files []FileChange) string {
	plain := make([]treediff.Change, len(files))
	for i, f := range files {
		plain[i] = f.Change
	}
	return treediff.Result{Changes: plain, Total: len(plain)}.Summary()
}

// details say in what a file differs.
func (c FileChange) details() string {
	one := func(f *treediff.File) string {
		switch {
		case f.Link != "":
			return f.Type + " to " + quoted(f.Link)
		case f.Type == "file":
			return fmt.Sprintf("%s, mode %s, owner %d:%d", size3(f.Size), f.Mode, f.UID, f.GID)
		}
		return fmt.Sprintf("%s, mode %s, owner %d:%d", f.Type, f.Mode, f.UID, f.GID)
	}
	if c.Kind != treediff.Changed {
		if c.A != nil {
			return one(c.A)
		}
		return one(c.B)
	}
	var parts []string
	for _, f := range c.Fields {
		switch f {
		case treediff.Type:
			parts = append(parts, c.A.Type+" -> "+c.B.Type)
		case treediff.Mode:
			parts = append(parts, "mode "+c.A.Mode+" -> "+c.B.Mode)
		case treediff.Owner:
			parts = append(parts, fmt.Sprintf("owner %d:%d -> %d:%d", c.A.UID, c.A.GID, c.B.UID, c.B.GID))
		case treediff.Size:
			parts = append(parts, size3(c.A.Size)+" -> "+size3(c.B.Size))
		case treediff.Link:
			parts = append(parts, quoted(c.A.Link)+" -> "+quoted(c.B.Link))
		case treediff.Device:
			parts = append(parts, fmt.Sprintf("device %d:%d -> %d:%d", c.A.Major, c.A.Minor, c.B.Major, c.B.Minor))
		case treediff.Time:
			parts = append(parts, c.A.Time.Format("2006-01-02T15:04:05Z")+" -> "+c.B.Time.Format("2006-01-02T15:04:05Z"))
		case treediff.Content:
			if c.A.Size == c.B.Size {
				parts = append(parts, "content")
			}
		default:
			parts = append(parts, string(f))
		}
	}
	return strings.Join(parts, ", ")
}

// disk prints the ranges of bytes that differ.
func (p *printer) disk(d *treediff.DiskResult) {
	p.line("")
	if d.Same() {
		p.line("bytes of the disk: the same (%s)", size3(d.SizeA))
		return
	}
	p.line("bytes of the disk: %s in %d ranges differ", size3(d.TotalBytes), d.TotalRanges)
	rows := make([][]string, len(d.Ranges))
	for i, r := range d.Ranges {
		where := r.Where
		if r.Offset > 0 {
			where += fmt.Sprintf(" at byte %d", r.Offset)
		}
		rows[i] = []string{fmt.Sprintf("  bytes %d to %d", r.Start, r.Start+r.Length-1), where}
	}
	p.table(rows)
	if rest := d.TotalRanges - len(d.Ranges); rest > 0 {
		p.line("  %d more are counted and not listed", rest)
	}
}
