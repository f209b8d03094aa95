// Package repeat runs the suite on one image again and again, to see what it
// says about the suite: one that calls a good image bad now and then teaches
// people to ignore it. What it measures is also where thresholds come from.
package repeat

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/child"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/reportfile"
)

// Schema is the version of the Report document.
const Schema = "nodeimage.dev/e2e-repeat/v1"

// The files that Run leaves in its directory, beside one directory a run.
const (
	JSONFile     = "repeat.json"
	MarkdownFile = "repeat.md"
)

// Report is what the runs came to.
type Report struct {
	Schema      string `json:"schema"`
	Image       string `json:"image"`
	SHA256      string `json:"sha256"`
	LabelFilter string `json:"labelFilter,omitempty"`
	Runs        []Run  `json:"runs"`
	// Measured is what every run that passed measured, by its name in
	// summary.json, over those runs.
	Measured map[string]Spread `json:"measured"`
}

// Run is one of the runs.
type Run struct {
	Dir     string      `json:"dir"` // within the directory of all runs
	Verdict e2e.Verdict `json:"verdict"`
	Reason  string      `json:"reason,omitempty"` // why there is no verdict
	Started time.Time   `json:"started"`
	Seconds float64     `json:"seconds"`
	Counts  e2e.Counts  `json:"counts"`
	Failed  []string    `json:"failed,omitempty"` // the specs that failed
	Causes  []string    `json:"causes,omitempty"` // the IDs of what the run named
}

// Spread is a figure over several runs.
type Spread struct {
	Runs   int     `json:"runs"`
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// Runner runs the suite as Options say, Runs times, one run after the other.
type Runner struct {
	Suite   child.Suite
	Options e2e.Options // OutputDir gets a directory a run and the report
	Runs    int
	// Done is called after each run; it may be nil.
	Done func(Run)
}

// Run fills and saves the report. A run that an earlier call left in the
// directory counts if it has a verdict on the same image by the same specs, so
// that an interrupted series goes on where it was. The error says that the
// series could not be run, not what came out: see Report.Err.
func (r Runner) Run(ctx context.Context) (Report, error) {
	digest, err := machine.Digest(ctx, r.Options.Image)
	if err != nil {
		return Report{}, exitcode.BadInput(err)
	}
	report := Report{Schema: Schema, Image: r.Options.Image, SHA256: digest, LabelFilter: r.Options.LabelFilter}
	var good []e2e.Result
	for n := range r.Runs {
		o := r.Options
		name := fmt.Sprintf("run-%02d", n+1)
		o.OutputDir = filepath.Join(r.Options.OutputDir, name)
		result, ok := earlier(o, digest)
		if !ok {
			if result, err = r.Suite(ctx, o); err != nil {
				if ctx.Err() != nil || exitcode.Of(err) != exitcode.Infrastructure {
					return report, errors.Join(err, report.save(r.Options.OutputDir))
				}
				result.Verdict, result.Reason = e2e.None, err.Error()
			}
		}
		run := newRun(name, result)
		report.Runs = append(report.Runs, run)
		if result.Verdict == e2e.Passed {
			good = append(good, result)
		}
		report.Measured = spreads(good)
		if r.Done != nil {
			r.Done(run)
		}
	}
	return report, report.save(r.Options.OutputDir)
}

// earlier reads the result of a run that is there already.
func earlier(o e2e.Options, digest string) (e2e.Result, bool) {
	var result e2e.Result
	data, err := os.ReadFile(filepath.Join(o.OutputDir, e2e.SummaryFile))
	if err != nil || json.Unmarshal(data, &result) != nil {
		return e2e.Result{}, false
	}
	soak := cmp.Or(o.Soak, e2e.DefaultSoak)
	return result, result.SHA256 == digest && result.LabelFilter == o.LabelFilter && result.Soak == soak.String() &&
		(result.Verdict == e2e.Passed || result.Verdict == e2e.Failed)
}

func newRun(dir string, result e2e.Result) Run {
	run := Run{Dir: dir, Verdict: result.Verdict, Reason: result.Reason, Started: result.Started, Seconds: result.Seconds, Counts: result.Counts}
	for _, s := range result.Specs {
		if s.Failed() {
			run.Failed = append(run.Failed, s.Name)
		}
	}
	for _, c := range result.Causes {
		run.Causes = append(run.Causes, c.ID)
	}
	return run
}

// spreads returns the spread of each figure over the runs that have it.
func spreads(results []e2e.Result) map[string]Spread {
	values := map[string][]float64{}
	for _, r := range results {
		values["seconds"] = append(values["seconds"], r.Seconds)
		for name, v := range r.Measured {
			values[name] = append(values[name], v)
		}
	}
	all := map[string]Spread{}
	for name, v := range values {
		slices.Sort(v)
		middle := v[len(v)/2]
		if len(v)%2 == 0 {
			middle = (v[len(v)/2-1] + middle) / 2
		}
		all[name] = Spread{Runs: len(v), Min: v[0], Median: middle, Max: v[len(v)-1]}
	}
	return all
}

// count returns how many runs have a verdict.
func (r Report) count(v e2e.Verdict) int {
	n := 0
	for _, run := range r.Runs {
		if run.Verdict == v {
			n++
		}
	}
	return n
}

// Headline sums the runs up in one line.
func (r Report) Headline() string {
	return fmt.Sprintf("%d runs: %d passed, %d failed, %d without a verdict", len(r.Runs), r.count(e2e.Passed), r.count(e2e.Failed), r.count(e2e.None))
}

// Err is nil if every run passed; else its exit code is 1 if one failed and 75
// if one had no verdict.
func (r Report) Err() error {
	switch {
	case r.count(e2e.Failed) > 0:
		return exitcode.With(exitcode.Failed, errors.New(r.Headline()))
	case r.count(e2e.None) > 0:
		return exitcode.Transient(errors.New(r.Headline()))
	default:
		return nil
	}
}

// WriteText prints the report for people, as Markdown.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nimage %s sha256:%s, specs %q\n\n| run | verdict | seconds | passed | failed | what failed |\n|---|---|---:|---:|---:|---|\n",
		r.Headline(), r.Image, r.SHA256, cmp.Or(r.LabelFilter, "all"))
	for _, run := range r.Runs {
		what := run.Reason
		if len(run.Failed) > 0 {
			what = strings.Join(run.Failed, "; ") + " (" + strings.Join(run.Causes, ", ") + ")"
		}
		fmt.Fprintf(&b, "| %s | %s | %.1f | %d | %d | %s |\n", run.Dir, run.Verdict, run.Seconds, run.Counts.Passed, run.Counts.Failed+run.Counts.Blocked, strings.Join(strings.Fields(what), " "))
	}
	b.WriteString("\n| measured | runs | min | median | max |\n|---|---:|---:|---:|---:|\n")
	for _, name := range slices.Sorted(maps.Keys(r.Measured)) {
		s := r.Measured[name]
		fmt.Fprintf(&b, "| %s | %d | %.1f | %.1f | %.1f |\n", name, s.Runs, s.Min, s.Median, s.Max)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON prints the report as one object.
func (r Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

func (r Report) save(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil // no run got as far as to make it
	}
	return reportfile.Save(dir, map[string]func(io.Writer) error{JSONFile: r.WriteJSON, MarkdownFile: r.WriteText})
}
