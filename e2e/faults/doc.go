package faults

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate"
)

//go:generate go run ../../internal/gen/faultsdoc -o ../../docs/faults.md

// WriteMarkdown writes docs/faults.md.
func WriteMarkdown(w io.Writer, all []Fault) error {
	var b strings.Builder
	offline, booted := 0, 0
	for _, f := range all {
		if f.In(StageValidate) {
			offline++
		}
		if f.In(StageE2E) {
			booted++
		}
	}
	fmt.Fprintf(&b, `<!-- Made by go generate ./e2e/faults from its *.yaml; do not edit. -->

# Faults

What a node image can have wrong, and where that must be caught: %d faults, %d of
them offline by `+"`nodeimage validate`"+`, %d by the booted suite. Each is one file in
[`+"`e2e/faults/`"+`](../e2e/faults/), made from a good image by the change that it
declares.

`+"```"+`
make faults-offline                                   # all that can be known without a boot
bin/nodeimage faults run a1-cgroup-driver-mismatch --stage e2e --image build/debian-13.qcow2 -o out
bin/nodeimage faults list
`+"```"+`

A run fails when a fault is not caught, is caught by other checks or for another
cause than it declares, when something is red that it does not declare, or when a
good image is called bad: the unchanged image is judged first, and a fault that
expects *green* looks like another one and is none.

| fault | expect | offline by | booted: cause | what is wrong |
|---|---|---|---|---|
`, len(all), offline, booted)
	for _, f := range all {
		var checks []string
		for _, id := range f.Caught.Validate.Checks {
			checks = append(checks, fmt.Sprintf("[%s](checks.md#%s)", id, id))
		}
		booted := f.Caught.E2E.Cause
		if booted == "" && f.In(StageE2E) {
			booted = "every spec passes"
		}
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s | %s |\n", f.ID, f.ID, f.Expect, strings.Join(checks, ", "), booted, f.Title)
	}
	for _, f := range all {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n%s\n\n", f.ID, capital(f.Title), strings.TrimSpace(f.Why))
		for _, l := range f.Change.lines() {
			fmt.Fprintf(&b, "- Change: %s\n", l)
		}
		if v := f.Caught.Validate; len(v.Checks) > 0 {
			what := "red"
			if f.Expect == Green {
				what = "passes"
			}
			fmt.Fprintf(&b, "- Offline, %s: %s", what, code(v.Checks))
			if v.Evidence != "" {
				fmt.Fprintf(&b, ", with `%s`", v.Evidence)
			}
			b.WriteString("\n")
			if len(v.Also) > 0 {
				fmt.Fprintf(&b, "- Red as well: %s\n", code(v.Also))
			}
		}
		if e := f.Caught.E2E; len(e.Specs) > 0 {
			fmt.Fprintf(&b, "- Booted, specs: %s\n", code(e.Specs))
			if e.Cause != "" {
				fmt.Fprintf(&b, "- Cause: `%s`, with `%s`\n", e.Cause, e.Evidence)
			}
			if e.Witness.Evidence != "" {
				fmt.Fprintf(&b, "- Let go on, it shows: `%s`\n", e.Witness.Evidence)
			}
		}
		b.WriteString("\nSee:\n\n")
		for _, u := range (validate.Check{References: f.See}).URLs() {
			fmt.Fprintf(&b, "- <%s>\n", u)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// lines says in words what a change does.
func (c Change) lines() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(c.Components)) {
		comp := c.Components[name]
		switch {
		case comp.Version == "":
			all = append(all, fmt.Sprintf("%s built without %s", name, code(comp.OmitTags)))
		default:
			all = append(all, fmt.Sprintf("%s %s", name, comp.Version))
		}
	}
	for _, f := range c.Files {
		what := "written"
		switch {
		case f.Remove:
			what = "removed"
		case f.Link != "":
			what = "a link to `" + f.Link + "`"
		case f.Directory:
			what = "a directory"
		case f.CopyOf != "":
			what = "a copy of `" + f.CopyOf + "`"
		case len(f.Edit) > 0, f.Append != "":
			what = "edited"
		case f.isModeOnly():
			what = "mode " + f.Mode
		}
		all = append(all, fmt.Sprintf("`%s` %s", f.Path, what))
	}
	for _, p := range c.Packages.Installed {
		all = append(all, fmt.Sprintf("the package %s %s installed, says dpkg", p.Name, p.Version))
	}
	for _, p := range c.Packages.Removed {
		all = append(all, fmt.Sprintf("the package %s removed, says dpkg", p))
	}
	if len(c.CommandLine) > 0 {
		all = append(all, "kernel command line "+code(c.CommandLine))
	}
	return all
}

func code(words []string) string { return "`" + strings.Join(words, "`, `") + "`" }

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
