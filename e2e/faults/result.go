package faults

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/renameio/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
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
	Seconds  float64  `json:"seconds"` // until the verdict
	// SinceInit is the time from the return of kubeadm init to the verdict,
	// in seconds; nil when it did not return before, or was not needed.
	SinceInit *float64 `json:"secondsSinceInit,omitempty"`
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
		caught := "yes"
		switch {
		case !x.AsDeclared:
			caught = "NO"
		case x.Expect == Green:
			caught = "green, as it must be"
		case x.Severity != "":
			caught = "yes, as a " + x.Severity
		}
		seconds := fmt.Sprintf("%.1f", x.Seconds)
		if x.SinceInit != nil {
			seconds += fmt.Sprintf(" (%+.1f after kubeadm init)", *x.SinceInit)
		}
		errs = append(errs, line(t, x.ID, string(x.Stage), caught, cmp.Or(x.Cause, "-"), seconds))
	}
	errs = append(errs, t.Flush())
	for _, x := range r.Results {
		for _, p := range x.Problems {
			_, err := fmt.Fprintf(w, "\n%s (%s): %s\n", x.ID, x.Stage, p)
			errs = append(errs, err)
		}
	}
	good := 0
	for _, x := range r.Results {
		if x.AsDeclared {
			good++
		}
	}
	_, err := fmt.Fprintf(w, "\n%d of %d as declared, in %.1f s\n", good, len(r.Results), r.Seconds)
	return errors.Join(append(errs, err)...)
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

// Save writes the report as JSON into a file, whole or not at all.
func (r Report) Save(path string) error {
	var b strings.Builder
	if err := r.WriteJSON(&b); err != nil {
		return err
	}
	if err := renameio.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return exitcode.Transient(fmt.Errorf("writing the report: %w", err))
	}
	return nil
}

// Merge puts the results of another stage behind r's, by fault.
func (r *Report) Merge(other Report) {
	r.Results = append(r.Results, other.Results...)
	slices.SortStableFunc(r.Results, func(a, b Result) int {
		if (a.ID == Unchanged) != (b.ID == Unchanged) {
			return map[bool]int{true: -1, false: 1}[a.ID == Unchanged]
		}
		return strings.Compare(a.ID, b.ID)
	})
	r.Seconds += other.Seconds
}
