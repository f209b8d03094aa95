// Package booted judges faults by the booted suite: an image is made with the
// fault in it, and only the specs run that must see it.
package booted

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/child"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/faults"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// Make writes an image with a fault in it to out.
type Make func(ctx context.Context, t *target.Target, changes faults.Changes, out string) error

// Runner judges faults in booted machines, one after the other.
type Runner struct {
	Target     *target.Target // the good image
	Profile    *profiles.Profile
	Components faults.Components
	Make       Make
	Suite      child.Suite
	Store      *store.Store // has room for one image at a time
	// OutputDir gets a directory for each fault with what its run left.
	OutputDir string
	// Witness lets proven faults go on until they show themselves.
	Witness bool
	Accel   machine.Accel
	// Progress gets the suite's lines, Done each result. Both may be nil.
	Progress io.Writer
	Done     func(faults.Result)
}

// Run judges each fault that declares specs. The error says on which faults
// there is no verdict; the report has the others.
func (r Runner) Run(ctx context.Context, all []faults.Fault) (faults.Report, error) {
	report := faults.Report{Schema: faults.ResultSchema, Image: r.Target.Path(), Started: time.Now().UTC()}
	if r.Profile != nil {
		report.Profile = r.Profile.Name
	}
	var errs []error
	for _, f := range all {
		if !f.In(faults.StageE2E) || ctx.Err() != nil {
			continue
		}
		result, err := r.one(ctx, f)
		report.Seconds = time.Since(report.Started).Round(100 * time.Millisecond).Seconds()
		if err != nil {
			errs = append(errs, fmt.Errorf("fault %s: %w", f.ID, err))
			continue
		}
		report.Results = append(report.Results, result)
		if r.Done != nil {
			r.Done(result)
		}
	}
	if err := context.Cause(ctx); err != nil {
		errs = append(errs, exitcode.Transient(err))
	}
	return report, errors.Join(errs...)
}

func (r Runner) one(ctx context.Context, f faults.Fault) (_ faults.Result, err error) {
	begin := time.Now()
	changes, err := faults.Plan(ctx, r.Target, f, r.Components)
	if err != nil {
		return faults.Result{}, err
	}
	dir, release, err := r.Store.Scratch("fault-image")
	if err != nil {
		return faults.Result{}, err
	}
	defer func() { err = errors.Join(err, release()) }()
	image := filepath.Join(dir, f.ID+".qcow2")
	if err := r.Make(ctx, r.Target, changes, image); err != nil {
		return faults.Result{}, err
	}
	made := time.Since(begin)
	o := r.options(f, image)
	result, err := r.Suite(ctx, o)
	if err != nil {
		return faults.Result{}, err
	}
	lines, err := noted(o.OutputDir)
	if err != nil {
		return faults.Result{}, err
	}
	judged := Judge(f, result, r.Witness, lines)
	judged.MadeIn = made.Round(100 * time.Millisecond).Seconds()
	return judged, nil
}

// options runs only what must see the fault, and stops at the first symptom.
func (r Runner) options(f faults.Fault, image string) e2e.Options {
	declared := f.Caught.E2E
	o := e2e.Options{
		Image: image, Profile: r.Profile, OutputDir: filepath.Join(r.OutputDir, f.ID),
		LabelFilter: declared.Labels, Specs: slices.Clone(declared.Specs),
		Firmware: []machine.Firmware{machine.UEFI}, Accel: r.Accel,
		FailFast: f.Expect == faults.Red, Progress: r.Progress,
	}
	if r.Witness && declared.Witness.Evidence != "" {
		o.Specs = append(o.Specs, declared.Witness.Specs...)
		o.Witness, o.WitnessUntil, o.FailFast = true, declared.Witness.Evidence, false
	}
	return o
}

// maxNoted bounds the lines of evidence that are read back, in bytes.
const maxNoted = 256 << 20

// noted reads the lines that the suite noted; there are none after a run that
// ended before the machine was up.
func noted(dir string) (lines []cause.Line, err error) {
	f, err := os.Open(filepath.Join(dir, "evidence", "diagnosis-lines.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, exitcode.Transient(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := json.NewDecoder(bufio.NewReader(io.LimitReader(f, maxNoted))).Decode(&lines); err != nil {
		return nil, exitcode.Transient(fmt.Errorf("reading %s: %w", f.Name(), err))
	}
	return lines, nil
}

// Judge compares what the suite said about an image with f in it with what f
// declares. lines is what the suite noted; only a witness needs them.
func Judge(f faults.Fault, got e2e.Result, witness bool, lines []cause.Line) faults.Result {
	declared := f.Caught.E2E
	r := faults.Result{ID: f.ID, Stage: faults.StageE2E, Expect: f.Expect, Got: faults.Red, Seconds: got.Seconds}
	problem := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	if got.Verdict == e2e.Passed {
		r.Got = faults.Green
	}
	var failed []string
	ran := map[string]bool{}
	for _, s := range got.Specs {
		for _, want := range declared.Specs {
			if strings.Contains(s.Name, want) {
				ran[want] = ran[want] || s.State == "passed" || s.Failed()
			}
		}
		if s.Failed() {
			failed = append(failed, s.Name)
		}
	}
	if f.Expect == faults.Green {
		for _, want := range declared.Specs {
			if !ran[want] {
				problem("no spec with %q in its name ran, so that it is green proves nothing", want)
			}
		}
		if r.Got == faults.Red {
			problem("the suite calls a good image bad: %s; %s", strings.Join(failed, "; "), causes(got.Causes))
		}
		r.AsDeclared = len(r.Problems) == 0
		return r
	}
	if at, ok := got.Measured[e2e.FirstFailure]; ok {
		r.Seconds = at
		if init, ok := got.Measured[e2e.InitReturned]; ok && init <= at {
			since := at - init
			r.SinceInit = &since
		}
	}
	first := declared.Specs[0]
	switch {
	case r.Got == faults.Green:
		problem("the suite calls the image good: the fault is not caught")
	case !slices.ContainsFunc(failed, func(name string) bool { return strings.Contains(name, first) }):
		problem("no spec with %q in its name failed; failed: %s", first, strings.Join(failed, "; "))
	default:
		r.Cause, r.Evidence = named(declared, got.Causes, problem)
	}
	if witness && declared.Witness.Evidence != "" {
		r.Witness, r.WitnessedAt = see(declared.Witness.Evidence, got, lines, problem), got.Measured[e2e.Witnessed]
	}
	r.AsDeclared = len(r.Problems) == 0
	return r
}

// named sees that the report names the declared cause, and none that weighs
// more, with the declared evidence.
func named(declared faults.E2E, all []e2e.Cause, problem func(string, ...any)) (id, evidence string) {
	i := slices.IndexFunc(all, func(c e2e.Cause) bool { return c.ID == declared.Cause })
	if i < 0 || all[i].Confidence == cause.Possible.String() {
		problem("the report does not name %s as certain or likely; it names %s", declared.Cause, causes(all))
		return "", ""
	}
	c := all[i]
	for _, other := range all {
		if other.ID != c.ID && other.Confidence == cause.Certain.String() && c.Confidence != cause.Certain.String() {
			problem("the report is certain of %s, and of %s it is not", other.ID, c.ID)
		}
	}
	if !regexp.MustCompile(declared.Evidence).MatchString(c.Evidence.Text) {
		problem("the evidence for %s does not match %q: %s", c.ID, declared.Evidence, c.Evidence.Text)
	}
	return c.ID, c.Evidence.Text
}

// see looks for what a fault shows in the end in all that was noted.
func see(want string, got e2e.Result, lines []cause.Line, problem func(string, ...any)) string {
	re := regexp.MustCompile(want)
	for _, l := range lines {
		if re.MatchString(l.Text) {
			return l.Text
		}
	}
	for _, s := range got.Specs {
		for l := range strings.Lines(s.Message) {
			if re.MatchString(l) {
				return strings.TrimSpace(l)
			}
		}
	}
	problem("the fault was let go on and did not show itself: no line of evidence matches %q", want)
	return ""
}

func causes(all []e2e.Cause) string {
	if len(all) == 0 {
		return "no cause"
	}
	var list []string
	for _, c := range all {
		list = append(list, fmt.Sprintf("%s (%s: %s)", c.ID, c.Confidence, c.Evidence.Text))
	}
	return strings.Join(list, "; ")
}
