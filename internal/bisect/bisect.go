// Package bisect finds which differences of two locks turn the verdict of a
// test: the one, or the smallest set that does it together.
package bisect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// Options says how a bisection is run.
type Options struct {
	// Test is a command for a POSIX shell. It gets the path of a candidate as
	// its last argument and in NODEIMAGE_CANDIDATE, and says by its exit code
	// what that is: 0 good, 1 bad, 75 could not tell.
	Test string
	// Check says why a candidate cannot be tested at all, which is then not
	// tried. Optional.
	Check func(path string) error
	Log   string // file that every run is noted in, "" for none
	// Tries is how many runs of Test are made at most; those in the log count
	// for nothing.
	Tries int
	// Retries is how often a run that could not tell is made again.
	Retries int
	// Timeout of one run, 0 for none. A run that meets it could not tell.
	Timeout time.Duration
	Runner  run.Runner
	Say     func(line string) // progress
	Output  io.Writer         // gets what Test prints
}

// Result is what was found.
type Result struct {
	// Culprits are the changes that together turn the verdict; one alone does
	// if there is one. Each element of it is one change, or several that no
	// testable candidate takes apart.
	Culprits [][]Unit `json:"culprits"`
	Units    int      `json:"units"` // changes in all
	Runs     int      `json:"runs"`  // of Test, this time
	// Others says that BAD stays bad without the culprits: there are more.
	Others bool `json:"others"`
	// Unsure are names of culprits without which nothing could be tested, so
	// that they may not be needed.
	Unsure []string `json:"unsure,omitempty"`
	// NotMonotone is an example of changes that turned the verdict to bad, and
	// with more changes back to good; "" if there was none.
	NotMonotone string `json:"notMonotone,omitempty"`
}

// Run bisects the differences of the documents at the paths good and bad.
//
// Errors carry exit code 2 if the documents, the log or the test's exit code
// are no good, or the test does not tell GOOD from BAD; and 75 if no answer was
// reached: too many tries, or a test that is not steady.
func Run(ctx context.Context, docs *Documents, name string, opts Options) (result *Result, err error) {
	if len(docs.Units) == 0 {
		return nil, exitcode.BadInput(errors.New("GOOD and BAD say the same, so nothing in them can turn the verdict"))
	}
	all, err := docs.Candidate(numbers(len(docs.Units)))
	if err != nil {
		return nil, err
	}
	none, err := docs.Candidate(nil)
	if err != nil {
		return nil, err
	}
	log, err := openLog(opts.Log, header{Schema: logSchema, Good: sum(none), Bad: sum(all), Test: opts.Test})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	dir, err := os.MkdirTemp("", "nodeimage-bisect-")
	if err != nil {
		return nil, exitcode.Transient(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	t := &tester{docs: docs, opts: opts, log: log, file: filepath.Join(dir, name), known: map[string]Verdict{}}
	opts.Say(fmt.Sprintf("%d differences; about %d runs for a single culprit", len(docs.Units), 4+bits(len(docs.Units))))
	f, err := search(ctx, len(docs.Units), t.ask)
	if err != nil {
		return nil, t.explain(f, err)
	}
	result = &Result{Units: len(docs.Units), Runs: t.runs, Others: f.others, NotMonotone: t.broken()}
	for _, set := range f.sets {
		var units []Unit
		for _, i := range set {
			units = append(units, docs.Units[i])
		}
		result.Culprits = append(result.Culprits, units)
	}
	for _, set := range f.unsure {
		for _, i := range set {
			result.Unsure = append(result.Unsure, docs.Units[i].Name)
		}
	}
	return result, nil
}

func bits(n int) (b int) {
	for ; n > 1; n = (n + 1) / 2 {
		b++
	}
	return b
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

var errTries = errors.New("too many tries")

// explain makes an error of the search one that says what to do.
func (t *tester) explain(f *found, err error) error {
	switch {
	case errors.Is(err, errNoContrast):
		return exitcode.BadInput(fmt.Errorf("%w; try %s on both by hand", err, run.Quote([]string{t.opts.Test})))
	case errors.Is(err, errDisagree):
		return exitcode.Transient(fmt.Errorf("%w; there is no culprit to be found with a test that flakes: let it repeat itself and answer 75 where it is not sure", err))
	case errors.Is(err, errTries):
		so := ""
		if f != nil && len(f.sets) > 0 {
			var names []string
			for _, i := range f.members() {
				names = append(names, t.docs.Units[i].Name)
			}
			so = "; so far needed: " + strings.Join(names, ", ")
		}
		return exitcode.Transient(fmt.Errorf("%w: %d runs of the test%s; go on with the same --log and more --tries", err, t.runs, so))
	}
	return err
}

// tester runs the test on candidates, and knows what it said.
type tester struct {
	docs  *Documents
	opts  Options
	log   *log
	file  string
	runs  int
	known map[string]Verdict // by candidate
	sets  []judged
}

// judged is a verdict on changes.
type judged struct {
	set     []int
	verdict Verdict
}

// ask implements ask.
func (t *tester) ask(ctx context.Context, set []int, again bool) (Verdict, error) {
	data, err := t.docs.Candidate(set)
	if err != nil {
		return Skip, err
	}
	key := sum(data)
	before, known := t.known[key]
	if known && !again {
		return before, nil
	}
	v := Skip
	for try := 0; try <= t.opts.Retries && v == Skip; try++ {
		var final bool
		if v, final, err = t.once(ctx, key, data, set); err != nil {
			return Skip, err
		}
		if final {
			break
		}
	}
	if known && before != Skip && v != Skip && v != before {
		return v, fmt.Errorf("%w: GOOD with %s was %s and is %s now", errDisagree, t.names(set), before, v)
	}
	if !known {
		t.known[key] = v
		t.sets = append(t.sets, judged{set, v})
	}
	return v, nil
}

func (t *tester) names(set []int) string {
	if len(set) == 0 {
		return "no change"
	}
	var names []string
	for _, i := range set {
		names = append(names, t.docs.Units[i].Name)
	}
	if len(names) > 6 {
		names = append(names[:5:5], fmt.Sprintf("%d more", len(names)-5))
	}
	return strings.Join(names, ", ")
}

// once runs the test once, or takes the run from the log. final says that
// another run would say the same.
func (t *tester) once(ctx context.Context, key string, data []byte, set []int) (v Verdict, final bool, err error) {
	if r, ok := t.log.next(key); ok {
		t.opts.Say(fmt.Sprintf("%s (in the log): GOOD with %s", r.Verdict, t.names(set)))
		return r.Verdict, r.Exit == notRun, nil
	}
	if t.runs >= t.opts.Tries {
		return Skip, true, errTries
	}
	if err := os.WriteFile(t.file, data, 0o644); err != nil {
		return Skip, true, exitcode.Transient(err)
	}
	r := record{Candidate: key, Exit: notRun, Verdict: Skip}
	for _, i := range set {
		r.Set = append(r.Set, t.docs.Units[i].Name)
	}
	start := time.Now()
	var reason error
	if t.opts.Check != nil {
		reason = t.opts.Check(t.file)
	}
	if reason == nil {
		t.runs++
		r.Verdict, r.Exit, err = t.command(ctx)
		if err != nil {
			return Skip, true, err
		}
	}
	r.Seconds = time.Since(start).Seconds()
	if err := t.log.add(r); err != nil {
		return Skip, true, err
	}
	line := fmt.Sprintf("%s after %.1f s: GOOD with %s", r.Verdict, r.Seconds, t.names(set))
	if reason != nil {
		line += ": no candidate: " + firstLine(reason.Error())
	}
	t.opts.Say(line)
	return r.Verdict, reason != nil, nil
}

func firstLine(s string) string {
	first, rest, _ := strings.Cut(s, "\n")
	if rest != "" {
		first += " …"
	}
	return first
}

// command runs the test on the candidate that lies in t.file.
func (t *tester) command(ctx context.Context) (Verdict, int, error) {
	limited := ctx
	if t.opts.Timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, t.opts.Timeout)
		defer cancel()
	}
	// The candidate is an argument of its own, so no name of a folder is code.
	argv := []string{"/bin/sh", "-c", t.opts.Test + ` "$@"`, "sh", t.file}
	out, err := t.opts.Runner.Run(limited, run.Cmd{Argv: argv, Env: []string{"NODEIMAGE_CANDIDATE=" + t.file}, Stdout: t.opts.Output, Stderr: t.opts.Output})
	switch {
	case ctx.Err() != nil:
		return Skip, out.ExitCode, exitcode.Transient(context.Cause(ctx))
	case limited.Err() != nil:
		return Skip, exitcode.Infrastructure, nil
	case err == nil:
		return Good, 0, nil
	case out.ExitCode == exitcode.Failed:
		return Bad, out.ExitCode, nil
	case out.ExitCode == exitcode.Infrastructure:
		return Skip, out.ExitCode, nil
	case out.ExitCode < 0:
		return Skip, out.ExitCode, exitcode.Transient(err)
	}
	return Skip, out.ExitCode, exitcode.BadInput(fmt.Errorf("the test ended with exit code %d, want 0 (good), 1 (bad) or 75 (could not tell): %w", out.ExitCode, err))
}

// broken finds changes that made it bad, and more changes with which it was
// good again.
func (t *tester) broken() string {
	for _, few := range t.sets {
		for _, more := range t.sets {
			if few.verdict != Bad || more.verdict != Good || len(few.set) >= len(more.set) {
				continue
			}
			if len(without(few.set, more.set)) == 0 {
				return fmt.Sprintf("GOOD with %s is bad, and good again with %s on top", t.names(few.set), t.names(without(more.set, few.set)))
			}
		}
	}
	return ""
}

// WriteText prints the result for people.
func (r *Result) WriteText(w io.Writer) error {
	var b strings.Builder
	one := len(r.Culprits) == 1 && len(r.Culprits[0]) == 1
	switch {
	case one:
		fmt.Fprintf(&b, "one of %d differences turns the verdict:\n", r.Units)
	case len(r.Culprits) == 1:
		fmt.Fprintf(&b, "these of %d differences turn the verdict; nothing between could be tested, so they were not told apart:\n", r.Units)
	default:
		fmt.Fprintf(&b, "these of %d differences turn the verdict together, and none of them without the others:\n", r.Units)
	}
	for _, units := range r.Culprits {
		for _, u := range units {
			mark := ""
			if slices.Contains(r.Unsure, u.Name) {
				mark = "  (may not be needed: without it nothing could be tested)"
			}
			fmt.Fprintf(&b, "  %s%s\n", u.Text, mark)
		}
	}
	if r.Others {
		b.WriteString("BAD stays bad without them: there is another cause beside this one.\n")
	}
	if r.NotMonotone != "" {
		fmt.Fprintf(&b, "The test is not monotone: %s. The result was tested by itself and turns the verdict; it need not be the only answer.\n", r.NotMonotone)
	}
	fmt.Fprintf(&b, "%d runs of the test\n", r.Runs)
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON prints the result for machines.
func (r *Result) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
