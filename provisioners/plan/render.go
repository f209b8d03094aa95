package plan

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// WriteJSON writes the plan as indented JSON.
func (p Plan) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil {
		return fmt.Errorf("writing plan %q: %w", p.Name, err)
	}
	return nil
}

// WriteText writes the plan for people: what each step does and why, with the
// content of text files indented below it.
func (p Plan) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "plan %s: %d steps\n", p.Name, len(p.Steps))
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "%3d. %s\n     %s\n", i+1, s.What(), s.Why)
		if s.File != nil {
			writeContent(&b, s.File.Content)
		}
		if s.Command != nil {
			for _, f := range s.Command.Stage {
				fmt.Fprintf(&b, "     | stages %s\n", f.Component)
			}
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing plan %q: %w", p.Name, err)
	}
	return nil
}

func writeContent(b *strings.Builder, content string) {
	if content == "" {
		return
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(content, "\n"), "\n") {
		b.WriteString(strings.TrimRight("     | "+line, " ") + "\n")
	}
}

// What says in one line what the step does.
func (s Step) What() string {
	switch {
	case s.File != nil && s.File.Component != "":
		return fmt.Sprintf("file %s %04o from %s", s.File.Path, s.File.Mode, s.File.Component)
	case s.File != nil:
		return fmt.Sprintf("file %s %04o", s.File.Path, s.File.Mode)
	case s.Directory != nil:
		return fmt.Sprintf("directory %s %04o", s.Directory.Path, s.Directory.Mode)
	case s.Link != nil:
		return fmt.Sprintf("link %s -> %s", s.Link.Path, s.Link.Target)
	case s.Unit != nil:
		return fmt.Sprintf("unit %s %s", s.Unit.Name, s.Unit.State)
	case s.Remove != nil:
		return "remove " + strings.Join(s.Remove.Paths, " ")
	case s.Command != nil:
		return "run " + brief(s.Command.Argv)
	}
	return "nothing"
}

// brief quotes argv on one line of bounded length.
func brief(argv []string) string {
	line := []rune(run.Quote(Abbreviate(argv)))
	if len(line) > maxBrief {
		return string(line[:maxBrief]) + "…"
	}
	return string(line)
}

const maxBrief = 120

// Abbreviate puts a mark in the place of each program that is passed as an
// argument, so that a command can be shown.
func Abbreviate(argv []string) []string {
	argv = slices.Clone(argv)
	for i, arg := range argv {
		if strings.Contains(arg, "\n") {
			argv[i] = fmt.Sprintf("<script of %d lines>", strings.Count(arg, "\n"))
		}
	}
	return argv
}
