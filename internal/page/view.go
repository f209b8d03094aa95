package page

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
)

// What a page can hold. Cells that are not as planned come first.
const (
	maxDetails  = 300
	maxRuns     = 40 // in a cell's history
	maxSpecs    = 200
	maxEvidence = 100
	maxCauses   = 20
	maxAttempts = 20
	maxOthers   = 100
)

// view is all that the template shows, ready to be shown.
type view struct {
	Matrix, Tool, Plan, Collected string
	Total, AsPlanned              int
	OK                            bool
	Headline                      string
	Tiles                         []tile
	Attention                     []attention
	MoreAttention                 int
	Glance                        glance
	Legend                        []look
	Trends                        trends
	Infra, Recovered              int
	Details                       []detail
	NoDetails                     int // cells without
	Strays, Unreadable            []string
}

type tile struct {
	look
	Count int
}

type attention struct {
	look
	Anchor, Name, Why string
}

// detail is one cell.
type detail struct {
	look
	Anchor, Name, Why       string
	Open                    bool
	Facts                   []fact
	KnownBad                *knownBad
	Causes                  []cause
	Checks                  []matrix.Check
	Stages                  []stageRow
	Attempts                []string
	Specs                   []specRow
	MoreSpecs               int
	Counts                  string
	Versions                []fact
	Changes                 changes
	History                 []runRow
	Flake                   string
	Times                   []timeRow
	Evidence                []evidence
	MoreEvidence            int
	ConsoleName, ConsoleURL string
	Console                 string
	Reason                  string
}

type fact struct {
	Name, Value string
	Code        bool
}

type knownBad struct{ Cause, Stage, Reason, Expires, Tracker, URL string }

type cause struct {
	ID, Title, Evidence, Fix string
	Certain                  bool
}

type stageRow struct {
	Stage, Result, Class, Time, Log, LogURL string
	Attempts                                int
	Shared, Earlier                         bool
}

type specRow struct {
	Class, Mark, State, Name, Time, Message string
	Share                                   int // of the slowest, in percent
}

type runRow struct {
	look
	Run, Started, Causes, Time, Kernel string
	Now                                bool
}

type evidence struct{ Path, URL, Size string }

// anchorOf is the name of a cell's place in the page.
func anchorOf(c matrix.Cell) string { return "cell-" + short(c.ID) }

func newView(dir string, c matrix.Collected) view {
	v := view{
		Matrix: name(c.Matrix), Tool: name(c.Tool.Version), Plan: short(c.PlanSHA256),
		Collected: c.Collected.UTC().Format("2 January 2006, 15:04 MST"), Total: len(c.Cells),
		Trends: newTrends(c), Infra: c.InfraFailures, Recovered: c.RecoveredRuns,
		Strays: clip(c.Strays), Unreadable: clip(c.Unreadable),
	}
	detailed := map[string]bool{}
	// In the order in which to tell them, so that what is wrong has details.
	byOutcome := map[matrix.Outcome][]matrix.CollectedCell{}
	for _, cell := range c.Cells {
		byOutcome[cell.Outcome] = append(byOutcome[cell.Outcome], cell)
		if cell.Outcome.AsPlanned() {
			v.AsPlanned++
		}
	}
	order := matrix.Outcomes()
	for _, o := range slices.Sorted(maps.Keys(byOutcome)) {
		if !slices.Contains(order, o) {
			order = append(order, o)
		}
	}
	for _, o := range order {
		if n := len(byOutcome[o]); n > 0 {
			v.Tiles = append(v.Tiles, tile{lookOf(o), n})
			v.Legend = append(v.Legend, lookOf(o))
		}
		for _, cell := range byOutcome[o] {
			anchor := ""
			if len(v.Details) < maxDetails {
				detailed[cell.Cell.ID] = true
				anchor = anchorOf(cell.Cell)
				v.Details = append(v.Details, newDetail(dir, cell))
			} else {
				v.NoDetails++
			}
			if o.AsPlanned() {
				continue
			}
			if len(v.Attention) == maxDetails {
				v.MoreAttention++
				continue
			}
			why := cell.Why
			if why == "" {
				why = lookOf(o).Explains
			}
			v.Attention = append(v.Attention, attention{lookOf(o), anchor, name(cell.Cell.Name), line(why)})
		}
	}
	v.OK = v.AsPlanned == v.Total && v.Total > 0 && len(c.Unreadable) == 0
	v.Headline = headline(c)
	v.Glance = newGlance(c.Cells, func(cell matrix.CollectedCell) string {
		if !detailed[cell.Cell.ID] {
			return ""
		}
		return anchorOf(cell.Cell)
	})
	return v
}

// headline is the verdict in one line.
func headline(c matrix.Collected) string {
	bad := 0
	for _, cell := range c.Cells {
		if !cell.Outcome.AsPlanned() {
			bad++
		}
	}
	switch {
	case len(c.Cells) == 0:
		return "The plan has no cells"
	case len(c.Unreadable) > 0:
		return fmt.Sprintf("%d results cannot be read, and %d of %d cells are not as planned", len(c.Unreadable), bad, len(c.Cells))
	case bad == 0:
		return fmt.Sprintf("All %d cells are as planned", len(c.Cells))
	case bad == 1:
		return fmt.Sprintf("1 of %d cells is not as planned", len(c.Cells))
	}
	return fmt.Sprintf("%d of %d cells are not as planned", bad, len(c.Cells))
}

func clip(list []string) []string {
	var out []string
	for i, text := range list {
		if i == maxOthers {
			return append(out, fmt.Sprintf("and %d more", len(list)-maxOthers))
		}
		out = append(out, line(text))
	}
	return out
}

func newDetail(dir string, c matrix.CollectedCell) detail {
	d := detail{look: lookOf(c.Outcome), Anchor: anchorOf(c.Cell), Name: name(c.Cell.Name), Why: line(c.Why), Open: !c.Outcome.AsPlanned()}
	add := func(what, value string, code bool) {
		if value != "" {
			d.Facts = append(d.Facts, fact{what, name(value), code})
		}
	}
	cell := c.Cell
	add("Profile", cell.Profile, false)
	add("OS", cell.OS, false)
	add("Kubernetes", cell.Kubernetes, false)
	add("containerd", cell.Containerd, false)
	add("runc", cell.Runc, false)
	add("Firmware", cell.Firmware+", "+cell.Arch, false)
	if b := cell.KnownBad; b != nil {
		d.KnownBad = &knownBad{name(b.Cause), name(string(b.Stage)), line(b.Reason), name(string(b.Expires)), name(b.Tracker), tracker(b.Tracker)}
	}
	if a := cell.Attested; a != nil {
		add("Signed verdict", string(a.Verdict)+" in "+a.File, false)
		add("Image attested", a.Image, true)
		add("Signed by key", a.Key, true)
	}
	if c.Result != nil {
		d.result(dir, c, add)
	}
	add("Cell", cell.ID, true)
	add("Profile digest", cell.ProfileSHA256, true)
	add("Archive state", cell.Base, true)
	d.Changes = newChanges(dir, c)
	now, _ := runs(c)
	first := max(len(c.History)-maxRuns, 0)
	for i := len(c.History) - 1; i >= first; i-- {
		d.History = append(d.History, newRun(c.History[i], &c.History[i] == now))
	}
	if len(c.History) > 0 {
		d.Flake = flakeText(flakes(c.History))
		d.Times = times(c.History)
	}
	return d
}

// result fills in what the cell's run says.
func (d *detail) result(dir string, c matrix.CollectedCell, add func(what, value string, code bool)) {
	r := c.Result
	accel := r.Host.Accel
	if accel == "" {
		accel = "nothing was booted"
	}
	add("Run", r.Run+", "+r.Started.UTC().Format("2006-01-02 15:04 MST"), false)
	add("Machine", fmt.Sprintf("%s, %d CPUs, %d MiB, %s", r.Host.Name, r.Host.CPUs, r.Host.MemoryMiB, accel), false)
	add("Time", seconds(r.Seconds), false)
	add("Tool", r.Tool.Version, false)
	if r.Image.SHA256 != "" {
		add("Image", r.Image.File+", "+bytesText(r.Image.Size), false)
		add("Image digest", r.Image.SHA256, true)
	}
	d.Reason = line(r.Reason)
	for _, k := range r.Causes[:min(len(r.Causes), maxCauses)] {
		d.Causes = append(d.Causes, cause{name(k.ID), line(k.Title), line(k.Evidence), line(k.Fix), k.Certain})
	}
	for _, k := range r.Checks[:min(len(r.Checks), maxSpecs)] {
		d.Checks = append(d.Checks, matrix.Check{ID: name(k.ID), Outcome: name(k.Outcome), Got: line(k.Got), Want: line(k.Want), File: line(k.File)})
	}
	for _, s := range r.Stages {
		row := stageRow{Stage: name(string(s.Stage)), Result: "done", Class: "good", Time: seconds(s.Seconds), Attempts: s.Attempts, Shared: s.Shared, Earlier: s.Earlier, Log: name(s.Log), LogURL: link(c.Folder, s.Log)}
		switch s.Code {
		case 0:
		case 1:
			row.Result, row.Class = "failed", "bad"
		default:
			row.Result, row.Class = fmt.Sprintf("no verdict (exit code %d)", s.Code), "none"
		}
		d.Stages = append(d.Stages, row)
	}
	for _, a := range r.Infrastructure[:min(len(r.Infrastructure), maxAttempts)] {
		d.Attempts = append(d.Attempts, fmt.Sprintf("%s, attempt %d: %s", name(string(a.Stage)), a.Attempt, line(a.Message)))
	}
	d.specs(r.Specs)
	d.Counts = fmt.Sprintf("%d passed, %d failed, %d blocked, %d skipped", r.Counts.Passed, r.Counts.Failed, r.Counts.Blocked, r.Counts.Skipped)
	if r.Versions.Kernel != "" {
		d.Versions = append(d.Versions, fact{"kernel", name(r.Versions.Kernel), false})
	}
	for _, k := range slices.Sorted(maps.Keys(r.Versions.Components)) {
		d.Versions = append(d.Versions, fact{name(k), name(r.Versions.Components[k]), false})
	}
	if n := r.Versions.Packages; n > 0 {
		d.Versions = append(d.Versions, fact{"Debian packages", itoa(n), false})
	}
	for i, f := range r.Evidence {
		if i == maxEvidence {
			d.MoreEvidence = len(r.Evidence) - maxEvidence
			break
		}
		d.Evidence = append(d.Evidence, evidence{name(f.Path), link(c.Folder, f.Path), bytesText(f.Size)})
	}
	if file := consoleFile(r.Evidence); file != "" {
		if data, err := readTail(dir, c.Folder, file, maxConsole); err == nil {
			d.ConsoleName, d.ConsoleURL, d.Console = name(file), link(c.Folder, file), console(data)
		}
	}
}

// specs shows those that failed first.
func (d *detail) specs(all []matrix.Spec) {
	slowest := 0.0
	for _, s := range all {
		slowest = max(slowest, s.Seconds)
	}
	rank := func(s matrix.Spec) int {
		switch s.State {
		case "passed":
			return 2
		case "blocked", "skipped", "pending":
			return 1
		}
		return 0
	}
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b matrix.Spec) int { return rank(a) - rank(b) })
	for i, s := range sorted {
		if i == maxSpecs {
			d.MoreSpecs = len(sorted) - maxSpecs
			return
		}
		row := specRow{Class: "bad", Mark: "✗", State: name(s.State), Name: line(s.Name), Time: seconds(s.Seconds), Message: clean(s.Message, 4<<10)}
		switch rank(s) {
		case 2:
			row.Class, row.Mark = "good", "✓"
		case 1:
			row.Class, row.Mark = "none", "–"
		}
		if slowest > 0 {
			row.Share = min(max(int(100*s.Seconds/slowest), 0), 100)
		}
		d.Specs = append(d.Specs, row)
	}
}

func newRun(r matrix.RunRecord, now bool) runRow {
	total := 0.0
	for _, s := range r.Seconds {
		total += s
	}
	l, ok := verdicts[r.Verdict]
	if !ok {
		l = look{Class: "none", Mark: "?", Word: name(string(r.Verdict))}
	}
	return runRow{look: l, Run: name(r.Run), Started: r.Started.UTC().Format("2006-01-02 15:04"), Causes: line(strings.Join(r.Causes, ", ")), Time: seconds(total), Kernel: name(r.Versions.Kernel), Now: now}
}
