package faults

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
)

//go:embed *.yaml
var data embed.FS

// All returns the catalogue in the order of IDs, or everything that is wrong
// with it as bad input.
func All() ([]Fault, error) {
	return load(data)
}

func load(files fs.FS) ([]Fault, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, err
	}
	var all []Fault
	var errs []error
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		f, err := Parse(name, text)
		all, errs = append(all, f), append(errs, err)
	}
	if len(names) == 0 {
		errs = append(errs, errors.New("no faults: the catalogue is empty"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, exitcode.BadInput(err)
	}
	slices.SortFunc(all, func(a, b Fault) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// Select returns the faults with these IDs in the catalogue's order.
func Select(all []Fault, ids []string) ([]Fault, error) {
	var errs []error
	for _, id := range ids {
		if !slices.ContainsFunc(all, func(f Fault) bool { return f.ID == id }) {
			errs = append(errs, fmt.Errorf("no fault is called %q; 'nodeimage faults list' lists them all", id))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, exitcode.BadInput(err)
	}
	return slices.DeleteFunc(slices.Clone(all), func(f Fault) bool { return !slices.Contains(ids, f.ID) }), nil
}

var (
	idPattern      = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	versionPattern = regexp.MustCompile(`^\d+\.\d+\.\d+$`)
	wordPattern    = regexp.MustCompile(`^[A-Za-z0-9_.,=:/-]+$`)
	packagePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	debVersion     = regexp.MustCompile(`^[A-Za-z0-9.+:~-]+$`)
)

// Parse reads one fault. All that is wrong with it comes back at once, with
// line and column, as profiles.Problems.
func Parse(name string, text []byte) (Fault, error) {
	var f Fault
	doc := profiles.ReadDocument(name, "fault", text, &f)
	c := checker{doc}
	c.head(name, f)
	c.change(f.Change)
	c.validate(f)
	c.e2e(f)
	return f, doc.Err()
}

type checker struct{ *profiles.Document }

func (c checker) head(name string, f Fault) {
	if f.APIVersion != APIVersion {
		c.Report("apiVersion", "found %q, expected %q", f.APIVersion, APIVersion)
	}
	if f.Kind != Kind {
		c.Report("kind", "found %q, expected %q", f.Kind, Kind)
	}
	if want := strings.TrimSuffix(path.Base(name), ".yaml"); f.ID != want || !idPattern.MatchString(f.ID) {
		c.Report("id", "found %q, expected the file's name in kebab-case, %q", f.ID, want)
	}
	if f.Title == "" {
		c.Report("title", "missing, expected one line that says what is wrong")
	}
	if f.Why == "" {
		c.Report("why", "missing, expected what comes of it on a node")
	}
	if len(f.See) == 0 {
		c.Report("see", "missing, expected upstream issues (owner/repo#number) or addresses")
	}
	for i, s := range f.See {
		if u := (validate.Check{References: []string{s}}).URLs()[0]; !strings.HasPrefix(u, "https://") {
			c.Report(fmt.Sprintf("see[%d]", i), "found %q, expected owner/repo#number or an https address", s)
		}
	}
	if f.Expect != Red && f.Expect != Green {
		c.Report("expect", "found %q, expected %q or %q", f.Expect, Red, Green)
	}
	if !f.In(StageValidate) && !f.In(StageE2E) {
		c.Report("caught", "names neither checks nor specs, expected where the fault shows")
	}
}

func (c checker) change(ch Change) {
	if len(ch.Components)+len(ch.Files)+len(ch.Packages.Installed)+len(ch.Packages.Removed)+len(ch.CommandLine) == 0 {
		c.Report("change", "changes nothing, expected components, files, packages or commandLine")
	}
	for name, comp := range ch.Components {
		at := "change.components." + name
		switch {
		case comp.Version == "" && len(comp.OmitTags) == 0:
			c.Report(at, "changes nothing, expected another version, or omitTags")
		case comp.Version == "" && (comp.Module != "" || comp.Sum != ""):
			c.Report(at, "has a module or a sum and no version")
		case comp.Version != "" && !versionPattern.MatchString(comp.Version):
			c.Report(at+".version", "found %q, expected a version such as 1.7.18", comp.Version)
		case comp.Version != "" && (comp.Module == "" || !strings.HasPrefix(comp.Sum, "h1:")):
			c.Report(at, "expected the module's path and its h1: sum beside the version")
		}
	}
	for i, f := range ch.Files {
		c.file(fmt.Sprintf("change.files[%d]", i), f)
	}
	for i, p := range ch.Packages.Installed {
		if !packagePattern.MatchString(p.Name) || !debVersion.MatchString(p.Version) {
			c.Report(fmt.Sprintf("change.packages.installed[%d]", i), "found %q in version %q, expected a Debian package with its version", p.Name, p.Version)
		}
	}
	for i, p := range ch.Packages.Removed {
		if !packagePattern.MatchString(p) {
			c.Report(fmt.Sprintf("change.packages.removed[%d]", i), "found %q, expected a Debian package", p)
		}
	}
	for i, w := range ch.CommandLine {
		if !wordPattern.MatchString(w) {
			c.Report(fmt.Sprintf("change.commandLine[%d]", i), "found %q, expected one word without quotes", w)
		}
	}
}

func (c checker) file(at string, f File) {
	if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" || strings.ContainsAny(f.Path, "\x00\n\"") {
		c.Report(at+".path", "found %q, expected a clean absolute path without quotes and line breaks", f.Path)
	}
	var ways []string
	for _, key := range []string{"content", "copyOf", "link", "edit", "append"} {
		if c.Has(at + "." + key) {
			ways = append(ways, key)
		}
	}
	if f.Directory {
		ways = append(ways, "directory")
	}
	if f.Remove {
		ways = append(ways, "remove")
	}
	switch {
	case len(ways) > 1:
		c.Report(at, "has %s, expected one of them", strings.Join(ways, " and "))
	case len(ways) == 0 && f.Mode == "":
		c.Report(at, "changes nothing, expected content, copyOf, link, directory, remove, edit, append or mode")
	case f.Mode != "" && (f.Remove || f.Link != ""):
		c.Report(at+".mode", "a file that is removed and a link have no mode")
	}
	if f.CopyOf != "" && (!path.IsAbs(f.CopyOf) || path.Clean(f.CopyOf) != f.CopyOf) {
		c.Report(at+".copyOf", "found %q, expected a clean absolute path", f.CopyOf)
	}
	if strings.ContainsAny(f.Link, "\x00\n\" ") {
		c.Report(at+".link", "found %q, expected a target without blanks, quotes and line breaks", f.Link)
	}
	if f.Mode != "" {
		if m, err := strconv.ParseUint(f.Mode, 8, 32); err != nil || m > 0o7777 || f.Mode[0] != '0' {
			c.Report(at+".mode", "found %q, expected an octal mode such as \"0644\"", f.Mode)
		}
	}
	for i, e := range f.Edit {
		p := fmt.Sprintf("%s.edit[%d]", at, i)
		if (e.Find == "") == (e.Regexp == "") {
			c.Report(p, "expected find or regexp")
		}
		c.regexp(p+".regexp", e.Regexp)
	}
}

func (c checker) regexp(at, expr string) {
	if _, err := regexp.Compile(expr); err != nil {
		c.Report(at, "%v", err)
	}
}

func (c checker) validate(f Fault) {
	v := f.Caught.Validate
	for key, ids := range map[string][]string{"checks": v.Checks, "also": v.Also} {
		for i, id := range ids {
			at := fmt.Sprintf("caught.validate.%s[%d]", key, i)
			if _, ok := validate.Find(id); !ok {
				c.Report(at, "no check is called %q; 'nodeimage explain' lists them", id)
			}
			if slices.Index(ids, id) != i || key == "also" && slices.Contains(v.Checks, id) {
				c.Report(at, "%s is named twice", id)
			}
		}
	}
	c.regexp("caught.validate.evidence", v.Evidence)
	switch {
	case f.In(StageValidate) && f.Expect == Red && v.Evidence == "":
		c.Report("caught.validate", "expected evidence, a regexp that a finding of the checks matches")
	case f.Expect == Green && v.Evidence != "":
		c.Report("caught.validate.evidence", "a check that passes has no evidence")
	case len(v.Checks) == 0 && (v.Evidence != "" || len(v.Also) > 0):
		c.Report("caught.validate", "expected checks")
	}
}

func (c checker) e2e(f Fault) {
	e := f.Caught.E2E
	c.regexp("caught.e2e.evidence", e.Evidence)
	c.regexp("caught.e2e.witness.evidence", e.Witness.Evidence)
	switch {
	case len(e.Specs) == 0 && (e.Cause != "" || e.Evidence != "" || e.Labels != ""):
		c.Report("caught.e2e", "expected specs")
	case len(e.Specs) > 0 && f.Expect == Red && (e.Cause == "" || e.Evidence == ""):
		c.Report("caught.e2e", "expected the cause that the report names, and evidence, a regexp for its line")
	case f.Expect == Green && (e.Cause != "" || e.Evidence != "" || e.Witness.Evidence != ""):
		c.Report("caught.e2e", "specs that pass have neither a cause nor evidence")
	case (e.Witness.Evidence == "") != (len(e.Witness.Specs) == 0):
		c.Report("caught.e2e.witness", "expected specs and evidence")
	}
	if e.Cause != "" && !slices.ContainsFunc(cause.Catalogue(), func(k cause.Cause) bool { return k.ID == e.Cause }) {
		c.Report("caught.e2e.cause", "no cause is called %q", e.Cause)
	}
}
