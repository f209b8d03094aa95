package faults

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/reportfile"
)

// ResultSchema is the version of the Report document.
const ResultSchema = "nodeimage.dev/faults/v1"

// Unchanged stands for the fault's ID where the image itself is judged.
const Unchanged = "unchanged"

// Report is what a run over faults came to.
type Report struct {
	Schema  string    `json:"schema"`
	Image   string    `json:"image"`
	Profile string    `json:"profile,omitempty"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Results []Result  `json:"results"`
}

// Result is how one fault was judged at one stage.
type Result struct {
	ID     string  `json:"id"`
	Stage  Stage   `json:"stage"`
	Expect Verdict `json:"expect"`
	// AsDeclared is the verdict on the gate: the fault was caught where, as
	// and for the reason that it declares, and nothing else was red.
	AsDeclared bool `json:"asDeclared"`
	// Got is what the image was called.
	Got Verdict `json:"got"`
	// Severity is "warning" where a red image passes with a warning.
	Severity string `json:"severity,omitempty"`
	// Cause is what named the fault: check IDs, or the suite's cause.
	Cause    string   `json:"cause,omitempty"`
	Evidence string   `json:"evidence,omitempty"`
	Problems []string `json:"problems,omitempty"`
	Seconds  float64  `json:"seconds"` // from the start of the stage's run until the verdict
	// SinceInit is the time from the return of kubeadm init to the verdict,
	// in seconds; nil when it did not return before, or was not needed.
	SinceInit *float64 `json:"secondsSinceInit,omitempty"`
	// Witness is the line by which a fault that was let go on showed itself,
	// WitnessedAt when it came, in seconds from the start of the run.
	Witness     string  `json:"witness,omitempty"`
	WitnessedAt float64 `json:"witnessedAtSeconds,omitempty"`
	// MadeIn is what making the image took, in seconds; it comes before
	// Seconds begin. Offline no image is made.
	MadeIn float64 `json:"madeInSeconds,omitempty"`
}

// caught says in a word how the result compares with what the fault declares.
func (r Result) caught() string {
	switch {
	case !r.AsDeclared:
		return "NO"
	case r.Expect == Green:
		return "green, as it must be"
	case r.Severity != "":
		return "yes, as a " + r.Severity
	default:
		return "yes"
	}
}

func (r *Result) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

func (r *Result) finish(start time.Time) {
	r.AsDeclared = len(r.Problems) == 0
	if r.Seconds == 0 {
		r.Seconds = time.Since(start).Round(10 * time.Millisecond).Seconds()
	}
}

// Err is nil if every fault was judged as it declares, else an error with exit
// code 1 that names those that were not.
func (r Report) Err() error {
	var bad []string
	for _, x := range r.Results {
		if !x.AsDeclared {
			bad = append(bad, fmt.Sprintf("%s (%s)", x.ID, x.Stage))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return exitcode.With(exitcode.Failed, fmt.Errorf("%d of %d faults were not judged as they declare: %s", len(bad), len(r.Results), strings.Join(bad, ", ")))
}

// WriteText prints a table, and what was wrong below it.
func (r Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	errs := []error{line(t, "FAULT", "STAGE", "CAUGHT?", "CAUSE", "SECONDS")}
	for _, x := range r.Results {
		seconds := fmt.Sprintf("%.1f", x.Seconds)
		if x.SinceInit != nil {
			seconds += fmt.Sprintf(" (%+.1f after kubeadm init)", *x.SinceInit)
		}
		errs = append(errs, line(t, x.ID, string(x.Stage), x.caught(), cmp.Or(x.Cause, "-"), seconds))
	}
	errs = append(errs, t.Flush())
	for _, x := range r.Results {
		if x.Witness != "" {
			_, err := fmt.Fprintf(w, "\n%s showed itself after %.1f s: %s\n", x.ID, x.WitnessedAt, x.Witness)
			errs = append(errs, err)
		}
		for _, p := range x.Problems {
			_, err := fmt.Fprintf(w, "\n%s (%s): %s\n", x.ID, x.Stage, p)
			errs = append(errs, err)
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\n", r.count())
	return errors.Join(append(errs, err)...)
}

func (r Report) count() string {
	good := 0
	for _, x := range r.Results {
		if x.AsDeclared {
			good++
		}
	}
	return fmt.Sprintf("%d of %d as declared, in %.1f s", good, len(r.Results), r.Seconds)
}

// WriteMarkdown prints the report as a table for a page or a comment.
func (r Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| fault | stage | caught? | cause | seconds | since kubeadm init | image made in |\n|---|---|---|---|---:|---:|---:|\n")
	figure := func(f float64) string {
		if f == 0 {
			return ""
		}
		return fmt.Sprintf("%.1f", f)
	}
	for _, x := range r.Results {
		since := ""
		if x.SinceInit != nil {
			since = fmt.Sprintf("%.1f", *x.SinceInit)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.1f | %s | %s |\n", x.ID, x.Stage, x.caught(), cmp.Or(x.Cause, "-"), x.Seconds, since, figure(x.MadeIn))
	}
	fmt.Fprintf(&b, "\n%s\n", r.count())
	// Evidence comes from a node and is shown as it is, not as markup.
	plain := strings.NewReplacer("`", "'", "\n", " ")
	for _, x := range r.Results {
		if x.Witness != "" {
			fmt.Fprintf(&b, "\n- %s showed itself after %.1f s: `%s`\n", x.ID, x.WitnessedAt, plain.Replace(x.Witness))
		}
		for _, p := range x.Problems {
			fmt.Fprintf(&b, "\n- %s (%s): `%s`\n", x.ID, x.Stage, plain.Replace(p))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func line(w io.Writer, cells ...string) error {
	_, err := fmt.Fprintln(w, strings.Join(cells, "\t"))
	return err
}

// WriteJSON prints the report as one object.
func (r Report) WriteJSON(w io.Writer) error {
	if r.Results == nil {
		r.Results = []Result{}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// The files that Save writes.
const (
	JSONFile     = "faults.json"
	MarkdownFile = "faults.md"
)

// Save writes the report into a directory, as JSON and as Markdown, each file
// whole or not at all.
func (r Report) Save(dir string) error {
	return reportfile.Save(dir, map[string]func(io.Writer) error{JSONFile: r.WriteJSON, MarkdownFile: r.WriteMarkdown})
}

// maxReport bounds a report that is read, in bytes.
const maxReport = 16 << 20

// ReadReport reads a report that Save wrote; an error is bad input.
func ReadReport(path string) (r Report, err error) {
	defer func() {
		if err != nil {
			err = exitcode.BadInput(fmt.Errorf("reading the report %s: %w", path, err))
		}
	}()
	f, err := os.Open(path)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	dec := json.NewDecoder(io.LimitReader(f, maxReport))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, err
	}
	if r.Schema != ResultSchema {
		return r, fmt.Errorf("the schema is %q, expected %q", r.Schema, ResultSchema)
	}
	return r, nil
}

// Merge adds the results of other runs, in the order of the faults' IDs. Of
// two runs of one fault at one stage the later one counts.
func (r *Report) Merge(others ...Report) {
	for _, other := range others {
		if r.Schema == "" {
			r.Schema, r.Image, r.Profile, r.Started = other.Schema, other.Image, other.Profile, other.Started
		}
		r.Results = slices.DeleteFunc(r.Results, func(x Result) bool {
			return slices.ContainsFunc(other.Results, func(y Result) bool { return x.ID == y.ID && x.Stage == y.Stage })
		})
		r.Results = append(r.Results, other.Results...)
		r.Seconds += other.Seconds
	}
	slices.SortStableFunc(r.Results, func(a, b Result) int {
		if (a.ID == Unchanged) != (b.ID == Unchanged) {
			return map[bool]int{true: -1, false: 1}[a.ID == Unchanged]
		}
		return cmp.Or(strings.Compare(a.ID, b.ID), -strings.Compare(string(a.Stage), string(b.Stage)))
	})
}
