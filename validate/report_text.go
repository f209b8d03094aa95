package validate

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// TextOptions say how WriteText prints.
type TextOptions struct {
	Color bool
	// Skipped also lists the checks that did not apply, with the reason.
	Skipped bool
}

// WriteText prints the report for people: what failed, then the warnings, each
// with its place, what is there, what should be and how to mend it; then what
// could not be told; then a count.
func (r Report) WriteText(w io.Writer, o TextOptions) error {
	p := &printer{w: w, color: o.Color}
	for _, outcome := range []Outcome{Fail, Warn} {
		for _, found := range r.byCheck() {
			if same := slices.DeleteFunc(slices.Clone(found), func(f Finding) bool { return f.Outcome != outcome }); len(same) > 0 {
				p.findings(same, r.check(same[0].ID))
			}
		}
	}
	counts := map[Outcome]int{}
	titled := false
	for _, f := range r.Findings {
		counts[f.Outcome]++
		if f.Outcome != Skip || !o.Skipped && !f.untold {
			continue
		}
		if titled = true; f.untold {
			p.line("%s  %s  %s", p.paint(yellow, "????"), f.ID, clean(f.Got))
		} else {
			p.line("%s  %s  %s", p.paint(dim, "skip"), f.ID, clean(f.Got))
		}
	}
	if titled {
		p.line("")
	}
	verdict := map[Verdict]string{Passed: p.paint(green, "PASS"), Failed: p.paint(red, "FAIL"), Unknown: p.paint(yellow, "NO VERDICT")}[r.Verdict]
	subject := r.Target
	if r.Profile != "" {
		subject += " (profile " + r.Profile + ")"
	}
	p.line("%s  %s: %s failed, %s, %d passed, %d skipped, %s",
		verdict, clean(subject), plural(r.red(), "check"), plural(counts[Warn], "warning"), counts[Pass], counts[Skip],
		r.Elapsed.Round(time.Millisecond))
	return p.err
}

const (
	red    = "\x1b[1;31m"
	yellow = "\x1b[1;33m"
	green  = "\x1b[1;32m"
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	reset  = "\x1b[0m"
)

type printer struct {
	w     io.Writer
	color bool
	err   error
}

func (p *printer) paint(code, text string) string {
	if !p.color {
		return text
	}
	return code + text + reset
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, strings.TrimRight(fmt.Sprintf(format, args...), " "))
	}
}

// field prints a labelled text, further lines aligned with the first.
func (p *printer) field(label, text string) {
	if text == "" {
		return
	}
	for i, l := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if i > 0 {
			label = ""
		}
		p.line("      %s  %s", p.paint(dim, fmt.Sprintf("%-4s", label)), clean(l))
	}
}

// findings prints what one check found: its name once, then each place. What
// all places share, as the fix and the threads, stands once, at the end.
func (p *printer) findings(found []Finding, c Check) {
	mark := p.paint(red, "FAIL")
	if found[0].Outcome == Warn {
		mark = p.paint(yellow, "WARN")
	}
	p.line("%s  %s  %s", mark, p.paint(bold, found[0].ID), c.Title)
	last := len(found) - 1
	for i, f := range found {
		place := ""
		if f.File != "" {
			place = source.Position{File: f.File, Line: f.Line}.String()
		}
		p.field("at", strings.TrimSpace(place+"  "+f.Key))
		p.field("got", f.Got)
		p.field("want", f.Want)
		if i == last || f.Fix != found[i+1].Fix {
			p.field("fix", f.Fix)
		}
		if i == last || !slices.Equal(f.See, found[i+1].See) {
			p.field("see", strings.Join(f.See, "\n"))
		}
		if f.policy != nil && i == last {
			p.field("", fmt.Sprintf("policy: %s until %s: %s", f.policy.Severity, f.policy.Expires, f.policy.Reason))
		}
	}
	p.line("")
}

// clean keeps what an image says from steering the terminal.
func clean(s string) string {
	if !slices.ContainsFunc([]rune(s), func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
