package faults

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// Offline judges faults by package validate, over views of an image. The zero
// value of what is not said to be needed is ready for use.
type Offline struct {
	Target  *target.Target    // needed; what is changed
	Profile *profiles.Profile // also compares with a profile, if not nil
	// Components is needed by faults that swap components.
	Components Components
	// Done is called after each fault.
	Done func(Result)
}

// Run judges the unchanged image, which must pass, and then each fault that
// declares checks. Nothing is written and no image is copied. An error means
// that there is no verdict; a fault that was not caught is in the report.
func (o Offline) Run(ctx context.Context, all []Fault) (Report, error) {
	report := Report{Schema: ResultSchema, Image: o.Target.Path(), Started: time.Now().UTC()}
	if o.Profile != nil {
		report.Profile = o.Profile.Name
	}
	add := func(r Result) {
		report.Results = append(report.Results, r)
		report.Seconds = time.Since(report.Started).Round(10 * time.Millisecond).Seconds()
		if o.Done != nil {
			o.Done(r)
		}
	}
	base, err := validate.Run(ctx, o.Target, o.Profile, nil)
	if err != nil {
		return report, err
	}
	unchanged := judgeUnchanged(base)
	add(unchanged)
	if !unchanged.AsDeclared {
		// What a bad image shows beside its own faults proves nothing.
		return report, nil
	}
	for _, f := range all {
		if !f.In(StageValidate) {
			continue
		}
		r, err := o.one(ctx, f, base)
		if err != nil {
			return report, err
		}
		add(r)
	}
	return report, nil
}

func judgeUnchanged(base validate.Report) Result {
	r := Result{ID: Unchanged, Stage: StageValidate, Expect: Green, Got: Green}
	start := time.Now().Add(-base.Elapsed)
	if base.Verdict != validate.Passed {
		r.Got = Red
		r.problem("the image that is to be changed must be good, and it is called %q: %s", base.Verdict, strings.Join(redLines(base, nil), "; "))
	}
	r.finish(start)
	return r
}

func (o Offline) one(ctx context.Context, f Fault, base validate.Report) (Result, error) {
	start := time.Now()
	changes, err := Plan(ctx, o.Target, f, o.Components)
	if err != nil {
		return Result{}, err
	}
	over, err := o.Target.WithLayer(changes.Root, changes.ESP)
	if err != nil {
		return Result{}, fmt.Errorf("fault %s: %w", f.ID, exitcode.BadInput(err))
	}
	report, err := validate.Run(ctx, over, o.Profile, nil)
	if err != nil {
		return Result{}, fmt.Errorf("fault %s: %w", f.ID, err)
	}
	r := Judge(f, base, report)
	r.Seconds = 0
	r.finish(start)
	return r, nil
}

// Judge compares what the checks said about an image with f in it with what f
// declares. base is the report on the image without it.
func Judge(f Fault, base, report validate.Report) Result {
	r := Result{ID: f.ID, Stage: StageValidate, Expect: f.Expect, Got: Green}
	v := f.Caught.Validate
	was, is := outcomes(base), outcomes(report)
	var named []string
	for _, id := range v.Checks {
		got := is[id]
		switch {
		case isRed(was[id].Outcome):
			r.problem("%s is red on the unchanged image, so it cannot show this fault", id)
		case isRed(got.Outcome):
			named = append(named, id)
			r.Got = Red
			if f.Expect == Green {
				r.problem("%s calls a good image bad: %s", id, strings.Join(redLines(report, []string{id}), "; "))
			}
		case f.Expect == Green && got.Outcome == validate.Pass:
			named = append(named, id)
		case got.Outcome == validate.Skip:
			r.problem("%s did not look: %s", id, got.Got)
		case f.Expect == Green:
			r.problem("%s is not in the report", id)
		default:
			r.problem("%s is not red: the fault is not caught there", id)
		}
	}
	for _, id := range v.Also {
		if !isRed(is[id].Outcome) {
			r.problem("%s is declared to be red as well, and is not", id)
		}
	}
	told := map[string]bool{} // of a check with many findings the first is enough
	for _, finding := range report.Findings {
		id := finding.ID
		if isRed(finding.Outcome) && !isRed(was[id].Outcome) && !slices.Contains(v.Checks, id) && !slices.Contains(v.Also, id) {
			if told[id] {
				continue
			}
			told[id] = true
			r.problem("%s is red and not declared: %s", id, Line(finding))
		}
	}
	if f.Expect == Red && r.Got == Red {
		r.evidence(compile(v.Evidence), redLines(report, v.Checks))
		if !slices.ContainsFunc(report.Findings, func(x validate.Finding) bool {
			return slices.Contains(named, x.ID) && x.Outcome == validate.Fail
		}) {
			r.Severity = string(validate.Warning)
		}
	}
	r.Cause = strings.Join(named, ", ")
	r.finish(time.Now())
	return r
}

// evidence takes the line that proves the fault, or says which there were.
func (r *Result) evidence(want *regexp.Regexp, lines []string) {
	if want == nil {
		return
	}
	for _, l := range lines {
		if want.MatchString(l) {
			r.Evidence = l
			return
		}
	}
	r.problem("no line of evidence matches %q; found: %s", want, strings.Join(lines, " | "))
}

// outcomes is the first red finding of each check, or its only one.
func outcomes(r validate.Report) map[string]validate.Finding {
	all := map[string]validate.Finding{}
	for _, f := range r.Findings {
		if had, ok := all[f.ID]; !ok || !isRed(had.Outcome) && isRed(f.Outcome) {
			all[f.ID] = f
		}
	}
	return all
}

func isRed(o validate.Outcome) bool { return o == validate.Fail || o == validate.Warn }

// redLines renders the red findings of some checks, or the failed ones of all.
func redLines(r validate.Report, ids []string) []string {
	var lines []string
	for _, f := range r.Findings {
		if ids == nil && f.Outcome == validate.Fail || ids != nil && isRed(f.Outcome) && slices.Contains(ids, f.ID) {
			lines = append(lines, Line(f))
		}
	}
	return lines
}

// Line writes a finding as one line, which evidence is looked for in.
func Line(f validate.Finding) string {
	at := f.File
	if f.Line > 0 {
		at = fmt.Sprintf("%s:%d", at, f.Line)
	}
	text := fmt.Sprintf("%s: %s; want %s", strings.TrimSpace(at+" "+f.Key), f.Got, f.Want)
	return f.ID + ": " + strings.Join(strings.Fields(text), " ")
}
