package matrix

import (
	"context"
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
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// CollectOptions says what is collected.
type CollectOptions struct {
	Plan Plan
	// Folders are those that `matrix run` filled, on any machine. A cell may
	// have results in several.
	Folders []string
	// Previous is the Collected document of an earlier time, nil for none; its
	// history goes on.
	Previous *Collected
	// OutputDir is where the Collected document will lie; folders below it are
	// named relative to it.
	OutputDir string
	Now       time.Time
}

// maxHistory bounds the runs that are kept of one cell.
const maxHistory = 100

// found is a result with its place.
type found struct {
	Result
	folder string
}

// better tells whether a should stand for its cell rather than b: a verdict
// weighs more than none, then the later one counts.
func (a found) better(b found) bool {
	if (a.Verdict == None) != (b.Verdict == None) {
		return a.Verdict != None
	}
	return a.Started.After(b.Started)
}

// Collect merges folders of results and holds them against a plan. An error
// means that a folder cannot be read; what is wrong with cells is in the
// document, see [Collected.Err].
func Collect(ctx context.Context, o CollectOptions) (Collected, error) {
	today := profiles.Date(o.Now.UTC().Format(time.DateOnly))
	c := Collected{
		Schema: CollectedSchema, Matrix: o.Plan.Matrix, PlanSHA256: o.Plan.SHA256, Tool: o.Plan.Tool,
		Collected: o.Now.UTC().Truncate(time.Second), Outcomes: map[Outcome]int{},
	}
	planned := make(map[string]int, len(o.Plan.Cells))
	for i, cell := range o.Plan.Cells {
		planned[cell.ID] = i
	}
	best := make([]*found, len(o.Plan.Cells))
	runs := make([][]RunRecord, len(o.Plan.Cells))
	for _, folder := range o.Folders {
		err := EachResult(folder, func(r Result, err error) error {
			if ctx.Err() != nil {
				return exitcode.Transient(context.Cause(ctx))
			}
			place := o.place(CellDir(folder, r.Cell.ID))
			i, ok := planned[r.Cell.ID]
			switch {
			case err != nil:
				c.Unreadable = append(c.Unreadable, fmt.Sprintf("%s: %v", folder, err))
				return nil
			case !ok:
				c.Strays = append(c.Strays, fmt.Sprintf("%s: %s (%s)", place, r.Cell.Name, r.Cell.ID))
				return nil
			}
			// What was expected is the plan's to say, and no result's.
			r.Cell = o.Plan.Cells[i]
			outcome, _ := Judge(r, today)
			runs[i] = append(runs[i], r.Record(outcome, place))
			c.InfraFailures += len(r.Infrastructure)
			if len(r.Infrastructure) > 0 && r.Verdict != None {
				c.RecoveredRuns++
			}
			if f := (found{r, place}); best[i] == nil || f.better(*best[i]) {
				best[i] = &f
			}
			return nil
		})
		if err != nil {
			return Collected{}, err
		}
	}
	past := map[string][]RunRecord{}
	if o.Previous != nil {
		for _, cell := range o.Previous.Cells {
			past[cell.Cell.Name] = cell.History
		}
	}
	for i, cell := range o.Plan.Cells {
		entry := CollectedCell{Cell: cell, History: merge(past[cell.Name], runs[i])}
		switch f := best[i]; {
		case f != nil:
			entry.Result, entry.Folder = &f.Result, f.folder
			entry.Outcome, entry.Why = Judge(f.Result, today)
		case cell.Attested != nil:
			entry.Outcome, entry.Why = judgeAttested(cell, today)
		default:
			entry.Outcome, entry.Why = Missing, "planned, and none of the folders has a result"
		}
		c.Outcomes[entry.Outcome]++
		c.Cells = append(c.Cells, entry)
	}
	slices.SortFunc(c.Cells, func(a, b CollectedCell) int { return strings.Compare(a.Cell.Name, b.Cell.Name) })
	return c, nil
}

// judgeAttested is Judge for a cell that was not run. An entry that has ended
// asks for a decision, whatever stands on paper.
func judgeAttested(cell Cell, today profiles.Date) (Outcome, string) {
	if cell.KnownBad != nil && cell.KnownBad.Expired(today) {
		return Judge(Result{Cell: cell, Verdict: cell.Attested.Verdict}, today)
	}
	return Reused, ""
}

// place names a folder relative to the output, if it lies below it.
func (o CollectOptions) place(folder string) string {
	if rel, err := filepath.Rel(o.OutputDir, folder); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return folder
}

// merge puts new runs to those that are known, each once, oldest first.
func merge(past, now []RunRecord) []RunRecord {
	type key struct {
		id, run string
		at      int64
	}
	of := func(r RunRecord) key { return key{r.ID, r.Run, r.Started.UnixNano()} }
	seen := map[key]bool{}
	for _, r := range now {
		seen[of(r)] = true
	}
	all := slices.DeleteFunc(slices.Clone(past), func(r RunRecord) bool { return seen[of(r)] })
	all = append(all, now...)
	slices.SortStableFunc(all, func(a, b RunRecord) int { return a.Started.Compare(b.Started) })
	return all[max(0, len(all)-maxHistory):]
}

// Err is nil if every planned cell is as planned. Else its exit code is 1 if
// something stands against a cell, and 75 if all that is wrong is that nothing
// can be said about some.
func (c Collected) Err() error {
	var parts []string
	code := exitcode.Infrastructure
	for _, o := range Outcomes() {
		n := c.Outcomes[o]
		if n == 0 || o.AsPlanned() {
			continue
		}
		parts = append(parts, fmt.Sprintf("%d %s", n, o))
		if o != Missing && o != NoVerdict {
			code = exitcode.Failed
		}
	}
	if len(c.Unreadable) > 0 {
		parts = append(parts, fmt.Sprintf("%d results cannot be read", len(c.Unreadable)))
	}
	if len(parts) == 0 {
		return nil
	}
	return exitcode.With(code, fmt.Errorf("matrix %s: of %d cells %s", c.Matrix, len(c.Cells), strings.Join(parts, ", ")))
}

// WriteJSON writes the document.
func (c Collected) WriteJSON(w io.Writer) error {
	if c.Cells == nil {
		c.Cells = []CollectedCell{}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(c)
}

// WriteText tells for people what is not as planned, and the counts.
func (c Collected) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, o := range Outcomes() {
		for _, cell := range c.Cells {
			if cell.Outcome != o || o.AsPlanned() {
				continue
			}
			fmt.Fprintf(&b, "%-12s %.12s  %s\n             %s\n", o, cell.Cell.ID, cell.Cell.Name, oneLine(cell.Why))
		}
	}
	for _, line := range c.Unreadable {
		fmt.Fprintf(&b, "unreadable   %s\n", oneLine(line))
	}
	for _, line := range c.Strays {
		fmt.Fprintf(&b, "stray        %s\n", oneLine(line))
	}
	fmt.Fprintf(&b, "%d cells:", len(c.Cells))
	for _, o := range Outcomes() {
		if n := c.Outcomes[o]; n > 0 {
			fmt.Fprintf(&b, " %d %s,", n, o)
		}
	}
	fmt.Fprintf(&b, " %d infrastructure failures, %d runs went on after one\n", c.InfraFailures, c.RecoveredRuns)
	_, err := io.WriteString(w, b.String())
	return err
}

func oneLine(text string) string { return strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ") }

// maxCollected bounds a Collected document that is read, in bytes.
const maxCollected = 1 << 30

// ReadCollected reads a document that WriteJSON wrote; an error is bad input.
func ReadCollected(path string) (c Collected, err error) {
	defer func() {
		if err != nil {
			err = exitcode.BadInput(fmt.Errorf("reading what was collected before, %s: %w", path, err))
		}
	}()
	return c, readDocument(path, maxCollected, &c, func() (got, want string) { return c.Schema, CollectedSchema })
}

// maxPlan bounds a plan that is read, in bytes.
const maxPlan = 256 << 20

// ReadPlan reads a plan that `matrix plan --format json` printed. It is bad
// input if its cells are not those whose digest it has.
func ReadPlan(path string) (p Plan, err error) {
	defer func() {
		if err != nil {
			err = exitcode.BadInput(fmt.Errorf("reading the plan %s: %w", path, err))
		}
	}()
	if err := readDocument(path, maxPlan, &p, func() (got, want string) { return p.Schema, PlanSchema }); err != nil {
		return p, err
	}
	if sum := p.digest(); sum != p.SHA256 {
		return p, fmt.Errorf("the digest of its cells is %s and it says %.64s: it was changed or cut", sum, p.SHA256)
	}
	return p, nil
}

// readDocument reads one JSON document of a regular file, strictly.
func readDocument(path string, most int64, into any, schema func() (got, want string)) (err error) {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return fmt.Errorf("expected a regular file of at most %d MiB", most>>20)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	dec := json.NewDecoder(io.LimitReader(f, most))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("it is no whole document: %w", err)
	}
	if got, want := schema(); got != want {
		return fmt.Errorf("schema is %.100q, expected %s", got, want)
	}
	return nil
}
