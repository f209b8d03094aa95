package page

import (
	"fmt"
	"io"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
)

// What a job's summary can hold: GitHub takes 1 MiB.
const (
	maxMarkdownRows = 50
	maxMarkdown     = 512 << 10
)

// escapeMarkdown makes a text mean nothing to Markdown nor to HTML.
var escapeMarkdown = strings.NewReplacer(
	"&", "&amp;", "<", "&lt;", ">", "&gt;", "|", "&#124;", "`", "&#96;", "*", "&#42;", "_", "&#95;", "[", "&#91;", "]", "&#93;",
	"\\", "&#92;", "#", "&#35;", "!", "&#33;", "@", "&#64;", "~", "&#126;", "$", "&#36;", ":", "&#58;",
)

func md(text string) string { return escapeMarkdown.Replace(name(text)) }

// WriteMarkdown writes a summary for a CI job.
func WriteMarkdown(w io.Writer, c matrix.Collected) error {
	v := newGlance(c.Cells, func(matrix.CollectedCell) string { return "" })
	t := newTrends(c)
	var b strings.Builder
	fmt.Fprintf(&b, "## Node images: %s\n\n**%s.** Matrix %s, plan `%s`, collected %s.\n\n", md(headline(c)), md(headline(c)), md(c.Matrix), hexOnly(short(c.PlanSHA256)), c.Collected.UTC().Format("2006-01-02 15:04 MST"))
	for _, o := range matrix.Outcomes() {
		if n := c.Outcomes[o]; n > 0 {
			l := lookOf(o)
			fmt.Fprintf(&b, "- %s %d %s: %s\n", l.Mark, n, l.Word, l.Explains)
		}
	}
	b.WriteString("\n")
	writeAttention(&b, c)
	writeTable(&b, v)
	fmt.Fprintf(&b, "Flake rate: %s. Runs with an infrastructure failure: %s.\n", t.Flake, t.Infra)
	if len(t.Times) > 0 {
		b.WriteString("\n| stage | runs | p50 | p95 |\n|---|--:|--:|--:|\n")
		for _, r := range t.Times {
			fmt.Fprintf(&b, "| %s | %d | %s | %s |\n", r.Stage, r.Runs, r.P50, r.P95)
		}
	}
	for _, text := range clip(c.Unreadable) {
		fmt.Fprintf(&b, "\n- cannot be read: %s", md(text))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeAttention(b *strings.Builder, c matrix.Collected) {
	rows := 0
	for _, o := range matrix.Outcomes() {
		for _, cell := range c.Cells {
			if cell.Outcome != o || o.AsPlanned() {
				continue
			}
			if rows++; rows == 1 {
				b.WriteString("| | cell | why |\n|---|---|---|\n")
			}
			if rows > maxMarkdownRows {
				continue
			}
			l := lookOf(o)
			why := cell.Why
			if why == "" {
				why = l.Explains
			}
			fmt.Fprintf(b, "| %s %s | %s | %s |\n", l.Mark, l.Word, md(cell.Cell.Name), md(why))
		}
	}
	if rows > maxMarkdownRows {
		fmt.Fprintf(b, "\nand %d more.\n", rows-maxMarkdownRows)
	}
	if rows > 0 {
		b.WriteString("\n")
	}
}

// writeTable writes the matrix itself, if it is small enough to be read.
func writeTable(b *strings.Builder, g glance) {
	var t strings.Builder
	t.WriteString("| |")
	rule := "|---|"
	for _, k := range g.Groups {
		for _, d := range k.Containerd {
			fmt.Fprintf(&t, " Kubernetes %s<br>containerd %s |", md(k.Kubernetes), md(d))
			rule += "---|"
		}
	}
	t.WriteString("\n" + rule + "\n")
	for _, r := range g.Rows {
		fmt.Fprintf(&t, "| **%s**<br>%s |", md(r.Profile), md(r.More))
		for _, f := range r.Fields {
			var texts []string
			for _, c := range f.Chips {
				text := c.Mark + " " + md(c.Text)
				if c.Runc != "" {
					text = "runc " + md(c.Runc) + " " + text
				}
				texts = append(texts, text)
			}
			t.WriteString(" " + strings.Join(texts, "<br>") + " |")
		}
		t.WriteString("\n")
		if t.Len() > maxMarkdown {
			b.WriteString("The matrix is too large for a summary; the page has it.\n\n")
			return
		}
	}
	b.WriteString(t.String() + "\n")
}

// hexOnly is a digest between backticks, where nothing can be escaped.
func hexOnly(text string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("0123456789abcdef", r) {
			return r
		}
		return -1
	}, text)
}
