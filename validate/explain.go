package validate

//go:generate go run ../internal/gen/checksdoc -o ../docs/checks.md

import (
	"fmt"
	"io"
	"strings"
)

// Find returns the check with this ID.
func Find(id string) (Check, bool) {
	for _, c := range Catalogue() {
		if c.ID == id {
			return c, true
		}
	}
	return Check{}, false
}

// Explain prints what a check looks for, why, how to mend what it finds, and
// the upstream threads.
func (c Check) Explain(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s)\n%s\n\n", c.ID, c.Severity, c.Title)
	section := func(title, text string) {
		fmt.Fprintf(&b, "%s\n", title)
		for l := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
			fmt.Fprintf(&b, "  %s\n", l)
		}
		b.WriteString("\n")
	}
	section("Why", c.Why)
	section("Looks at", c.Reads)
	scope := c.Scope
	if scope == "" {
		scope = "every node"
	}
	section("Applies to", scope)
	section("Fix", c.Fix)
	section("See", strings.Join(c.URLs(), "\n"))
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

// WriteMarkdown prints the page docs/checks.md.
func WriteMarkdown(w io.Writer, catalogue []Check) error {
	var b strings.Builder
	b.WriteString("<!-- Made by go generate ./validate from the catalogue; do not edit. -->\n\n# Checks\n\n")
	fmt.Fprintf(&b, "What `nodeimage validate` looks for in an image or on a node: %d checks. `nodeimage explain ID` prints the same. ", len(catalogue))
	b.WriteString("A red check of severity *error* fails the target (exit code 1); one of severity *warning* does not.\n\n")
	b.WriteString("| ID | severity | red when |\n|---|---|---|\n")
	for _, c := range catalogue {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s |\n", c.ID, c.ID, c.Severity, cell(c.Title))
	}
	for _, c := range catalogue {
		scope := c.Scope
		if scope == "" {
			scope = "every node"
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n%s\n\n", c.ID, upperFirst(c.Title), strings.TrimSpace(c.Why))
		fmt.Fprintf(&b, "- Severity: %s\n- Looks at: %s\n- Applies to: %s\n", c.Severity, c.Reads, scope)
		fmt.Fprintf(&b, "\nFix:\n\n```\n%s\n```\n\nSee:\n\n", strings.TrimSpace(c.Fix))
		for _, u := range c.URLs() {
			fmt.Fprintf(&b, "- <%s>\n", u)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
