package matrix

import (
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// CollectedSchema is the version of the Collected document.
const CollectedSchema = "nodeimage.dev/matrix-collected/v1"

// CollectedFile is what `matrix collect -o DIR` writes the Collected document to.
const CollectedFile = "matrix.json"

// Outcome is a cell's verdict held against what was expected of it.
type Outcome string

// The outcomes. Only the first three are as planned.
const (
	Good        Outcome = "good"         // green, as it must be
	ExpectedRed Outcome = "expected-red" // known to be bad, and red for the named cause
	Reused      Outcome = "reused"       // not run: its ID has a signed verdict
	Bad         Outcome = "bad"          // red, and must be green
	OtherRed    Outcome = "other-red"    // known to be bad, and red for another cause
	Mended      Outcome = "mended"       // known to be bad, and green: take the entry away
	Expired     Outcome = "expired"      // the entry that calls it bad has ended
	NoVerdict   Outcome = "no-verdict"   // it ran and nothing can be said
	Missing     Outcome = "missing"      // planned, and there is no result
)

// Outcomes are all of them, in the order in which to tell them.
func Outcomes() []Outcome {
	return []Outcome{Bad, OtherRed, Mended, Expired, Missing, NoVerdict, ExpectedRed, Reused, Good}
}

// AsPlanned tells whether the outcome leaves nothing to do.
func (o Outcome) AsPlanned() bool { return o == Good || o == ExpectedRed || o == Reused }

// Collected is what any number of folders of results come to, held against a
// plan.
type Collected struct {
	Schema     string    `json:"schema"`
	Matrix     string    `json:"matrix"`
	PlanSHA256 string    `json:"planSHA256"`
	Tool       Tool      `json:"tool"` // that planned
	Collected  time.Time `json:"collected"`

	Cells []CollectedCell `json:"cells"` // all of the plan, by name
	// Strays are results of cells that the plan does not have.
	Strays []string `json:"strays,omitempty"`
	// Unreadable are results that cannot be read, with the reason.
	Unreadable []string `json:"unreadable,omitempty"`

	Outcomes map[Outcome]int `json:"outcomes"` // how many cells
	// InfraFailures counts the attempts of all runs that told nothing,
	// RecoveredRuns the runs in which a retry then gave a verdict.
	InfraFailures int `json:"infraFailures"`
	RecoveredRuns int `json:"recoveredRuns"`
}

// CollectedCell is one planned cell with what is known of it.
type CollectedCell struct {
	Cell    Cell    `json:"cell"`
	Outcome Outcome `json:"outcome"`
	// Why says in one line what stands against the cell; empty if nothing does.
	Why string `json:"why,omitempty"`
	// Result is the latest of the cell's runs that has a verdict, or the
	// latest without one; nil for a missing or reused cell.
	Result *Result `json:"result,omitempty"`
	// Folder is where the result's files are: a cell's folder, as a path that
	// is relative to the folder of the Collected document if it lies below it.
	Folder string `json:"folder,omitempty"`
	// History has every run of a cell of this name that is known, this one's
	// and earlier ones', oldest first, whatever the ID was.
	History []RunRecord `json:"history,omitempty"`
}

// RunRecord is a run as history keeps it.
type RunRecord struct {
	ID      string    `json:"id"` // of the cell: another one means that something changed
	Run     string    `json:"run"`
	Started time.Time `json:"started"`
	Verdict Verdict   `json:"verdict"`
	Outcome Outcome   `json:"outcome"`
	Causes  []string  `json:"causes,omitempty"`
	// Seconds of each stage that ran.
	Seconds       map[Stage]float64 `json:"seconds,omitempty"`
	InfraFailures int               `json:"infraFailures,omitempty"`
	ImageSHA256   string            `json:"imageSHA256,omitempty"`
	ProfileSHA256 string            `json:"profileSHA256,omitempty"`
	Base          string            `json:"base,omitempty"`
	ToolVersion   string            `json:"toolVersion,omitempty"`
	Versions      Versions          `json:"versions,omitzero"`
	Accel         string            `json:"accel,omitempty"`
	// Folder is where the run's files are, as CollectedCell.Folder; history
	// outlives them.
	Folder string `json:"folder,omitempty"`
}

// Judge holds a verdict against what is expected of its cell today, and says
// what stands against it.
func Judge(r Result, today profiles.Date) (Outcome, string) {
	bad := r.Cell.KnownBad
	switch {
	case r.Verdict == None:
		return NoVerdict, r.Reason
	case bad != nil && bad.Expired(today):
		return Expired, "known to be bad until " + string(bad.Expires) + " (" + bad.Tracker + "): decide anew"
	case bad == nil && r.Verdict == Passed:
		return Good, ""
	case bad == nil:
		return Bad, "red at the stage " + string(r.Red) + "; cause: " + r.causeText()
	case r.Verdict == Passed:
		return Mended, "known to be bad for " + bad.Cause + " and green: take the entry away, and close " + bad.Tracker
	case r.Red != bad.Stage || !r.named(bad.Cause):
		return OtherRed, "known to be bad at the stage " + string(bad.Stage) + " for " + bad.Cause + "; red at the stage " + string(r.Red) + ", cause: " + r.causeText()
	}
	return ExpectedRed, ""
}

// named tells whether a cause is among those that the run is certain of.
func (r Result) named(id string) bool {
	for _, c := range r.Causes {
		if c.ID == id && c.Certain {
			return true
		}
	}
	return false
}

func (r Result) causeText() string {
	text := ""
	for _, c := range r.Causes {
		if text != "" {
			text += ", "
		}
		text += c.ID
		if !c.Certain {
			text += " (likely)"
		}
	}
	if text == "" {
		return "none is named"
	}
	return text
}

// Record is the run as history keeps it.
func (r Result) Record(o Outcome, folder string) RunRecord {
	rec := RunRecord{
		ID: r.Cell.ID, Run: r.Run, Started: r.Started, Verdict: r.Verdict, Outcome: o,
		InfraFailures: len(r.Infrastructure), ImageSHA256: r.Image.SHA256, ProfileSHA256: r.Cell.ProfileSHA256,
		Base: r.Cell.Base, ToolVersion: r.Tool.Version, Versions: r.Versions, Accel: r.Host.Accel, Folder: folder,
	}
	for _, c := range r.Causes {
		rec.Causes = append(rec.Causes, c.ID)
	}
	for _, s := range r.Stages {
		if rec.Seconds == nil {
			rec.Seconds = map[Stage]float64{}
		}
		rec.Seconds[s.Stage] = s.Seconds
	}
	return rec
}
