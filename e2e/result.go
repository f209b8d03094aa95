package e2e

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// SummarySchema is the version of the Result document.
const SummarySchema = "nodeimage.dev/e2e-summary/v1"

// Verdict is what a run says about the image.
type Verdict string

// The verdicts. None means that nothing can be said: not a pass, not a failure.
const (
	Passed Verdict = "passed"
	Failed Verdict = "failed"
	None   Verdict = "none"
)

// Result is what a run came to; summary.json is it as JSON.
type Result struct {
	Schema  string  `json:"schema"`
	Verdict Verdict `json:"verdict"`
	// Reason says why there is no verdict.
	Reason string `json:"reason,omitempty"`
	// Host is the machine that was judged, as user@host, in the place of an
	// image. There is no digest then, so that nothing can be said about an
	// image by it.
	Host        string `json:"host,omitempty"`
	Image       string `json:"image"`
	SHA256      string `json:"sha256"`      // of the image file before the run
	SHA256After string `json:"sha256After"` // and after it; empty if the spec did not run
	Profile     string `json:"profile,omitempty"`
	// ProfileSHA256 is the digest of the effective profile that the image was
	// judged against.
	ProfileSHA256 string `json:"profileSHA256,omitempty"`
	Tool          string `json:"tool"` // version of this program
	// StandIns names what was not the real thing in this run, such as the
	// machine, or what the image was made from; empty when the image itself was
	// booted and made from what its profile is named after.
	StandIns    []string  `json:"standIns"`
	LabelFilter string    `json:"labelFilter,omitempty"`
	Soak        string    `json:"soak"`
	Started     time.Time `json:"started"`
	Seconds     float64   `json:"seconds"`

	Counts   Counts           `json:"counts"`
	Specs    []Spec           `json:"specs"`
	Causes   []Cause          `json:"causes,omitempty"`
	Machines []machine.Report `json:"machines"`
	// Cleanup says what became of the cluster on a host.
	Cleanup  string             `json:"cleanup,omitempty"`
	Measured map[string]float64 `json:"measured"`

	firstFailure time.Time
}

// Keys of Result.Measured that say when something was known, in seconds from
// the start of the run. A run without it has no such key.
const (
	FirstFailure = "first-failure-at-seconds"
	InitReturned = "kubeadm-init-returned-at-seconds"
	Witnessed    = "witnessed-at-seconds" // the line of Options.WitnessUntil
)

// Counts of specs. Blocked ones could not run because of another's failure;
// Excluded ones were not selected.
type Counts struct {
	Passed   int `json:"passed"`
	Failed   int `json:"failed"`
	Blocked  int `json:"blocked"`
	Skipped  int `json:"skipped"`
	Excluded int `json:"excluded"`
}

// Spec is one spec's result.
type Spec struct {
	Name    string   `json:"name"`
	Labels  []string `json:"labels"`
	State   string   `json:"state"` // Ginkgo's word, or "blocked"
	Seconds float64  `json:"seconds"`
	Message string   `json:"message,omitempty"`
}

// Failed tells whether the spec failed itself: Ginkgo has several words for
// it. A blocked spec did not run.
func (s Spec) Failed() bool {
	return slices.Contains([]string{"failed", "panicked", "timedout", "aborted", "interrupted"}, s.State)
}

// Cause is a named cause of what failed.
type Cause struct {
	ID         string     `json:"id"`
	Confidence string     `json:"confidence"`
	Title      string     `json:"title"`
	Evidence   cause.Line `json:"evidence"`
	Fix        string     `json:"fix"`
	See        []string   `json:"see,omitempty"`
}

func newCause(f cause.Finding) Cause {
	return Cause{ID: f.Cause.ID, Confidence: f.Confidence.String(), Title: f.Cause.Title, Evidence: f.Evidence, Fix: f.Cause.Fix, See: f.Cause.See}
}

// suiteName is the container around all specs.
const suiteName = "node image"

const (
	blocked       = "blocked"
	blockedPrefix = "blocked: "
)

func specState(report types.SpecReport) string {
	if report.State.Is(types.SpecStateSkipped) && strings.HasPrefix(report.Failure.Message, blockedPrefix) {
		return blocked
	}
	return report.State.String()
}

// add takes over Ginkgo's report.
func (r *Result) add(report ginkgo.Report) {
	for _, spec := range report.SpecReports {
		if !spec.LeafNodeType.Is(types.NodeTypeIt) && !spec.State.Is(types.SpecStateFailureStates) {
			continue // hooks matter when they fail
		}
		for _, entry := range spec.ReportEntries {
			if entry.Name == digestAfter {
				r.SHA256After, _ = entry.GetRawValue().(string)
			}
		}
		state := specState(spec)
		switch {
		case state == blocked:
			r.Counts.Blocked++
		case spec.State.Is(types.SpecStatePassed):
			r.Counts.Passed++
		case spec.State.Is(types.SpecStateFailureStates):
			r.Counts.Failed++
			if at := spec.Failure.TimelineLocation.Time; r.firstFailure.IsZero() || at.Before(r.firstFailure) {
				r.firstFailure = at
			}
		case spec.Failure.Message == "" && spec.RunTime == 0:
			r.Counts.Excluded++
			continue
		default:
			r.Counts.Skipped++
		}
		r.Specs = append(r.Specs, Spec{
			Name: spec.FullText(), Labels: spec.Labels(), State: state,
			Seconds: roundSeconds(spec.RunTime), Message: spec.Failure.Message,
		})
	}
}

// judge sets the verdict. A run in which something was blocked has a failure
// that blocked it; a run without a single passed spec proves nothing.
func (r *Result) judge(infra error) {
	slices.SortFunc(r.Causes, func(a, b Cause) int { return cmp.Compare(a.ID, b.ID) })
	switch {
	case infra != nil:
		r.Verdict, r.Reason = None, infra.Error()
	case r.Counts.Failed > 0 || r.Counts.Blocked > 0:
		r.Verdict = Failed
	case r.Counts.Passed == 0:
		r.Verdict, r.Reason = None, "no spec ran: the label filter and the names select none"
	default:
		r.Verdict = Passed
	}
}

// err is the error that Run returns: why there is no verdict, nil if there is.
func (r *Result) err(infra error) error {
	switch {
	case r.Verdict != None:
		return nil
	case infra == nil:
		return exitcode.BadInput(errors.New(r.Reason))
	case exitcode.Of(infra) == exitcode.Failed:
		// "Could not tell" must not carry a verdict's code by accident.
		return exitcode.Transient(infra)
	default:
		return infra
	}
}

// Passed tells whether the image passed every spec that was selected.
func (r Result) Passed() bool { return r.Verdict == Passed }

// Headline is the verdict in one line.
func (r Result) Headline() string {
	text := fmt.Sprintf("%s: %d specs passed, %d failed, %d were blocked by those, %d skipped", r.Verdict, r.Counts.Passed, r.Counts.Failed, r.Counts.Blocked, r.Counts.Skipped)
	var certain []string
	for _, c := range r.Causes {
		if c.Confidence == cause.Certain.String() {
			certain = append(certain, c.ID)
		}
	}
	if len(certain) > 0 {
		text += "; cause: " + strings.Join(certain, ", ")
	}
	if r.Reason != "" {
		text += "; " + r.Reason
	}
	if len(r.StandIns) > 0 {
		text += "; NOT ON THE REAL THING: stand-ins for " + strings.Join(r.StandIns, ", ")
	}
	return text
}

// WriteText writes the result for people: what failed first, with its causes,
// then one line of counts.
func (r Result) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, s := range r.Specs {
		if s.State != specPassed && s.State != specSkipped && s.State != blocked {
			fmt.Fprintf(&b, "FAILED  %s\n%s\n", specName(s.Name), indent(s.Message))
		}
	}
	for _, m := range r.Machines {
		if r.Host != "" {
			fmt.Fprintf(&b, "machine  %s (%s), %d CPUs, %d MiB\n", m.Accel, m.AccelReason, m.CPUs, m.MemoryMiB)
			continue
		}
		fmt.Fprintf(&b, "machine  %s, %s, %s (%s), %d CPUs, %d MiB, SSH after %.1fs\n", m.Arch, m.Firmware, m.Accel, m.AccelReason, m.CPUs, m.MemoryMiB, m.BootToSSH.Seconds())
	}
	if r.Host == "" {
		fmt.Fprintf(&b, "image    %s sha256:%s\n", r.Image, r.SHA256)
	} else {
		for _, s := range r.Specs {
			if s.State == specSkipped {
				fmt.Fprintf(&b, "skipped  %s: %s\n", specName(s.Name), s.Message)
			}
		}
		fmt.Fprintf(&b, "host     %s, no image: this result is about that machine alone\n", r.Host)
		fmt.Fprintf(&b, "cleanup  %s\n", cmp.Or(r.Cleanup, "not needed"))
	}
	fmt.Fprintf(&b, "%s, in %.0fs\n", r.Headline(), r.Seconds)
	_, err := io.WriteString(w, b.String())
	return err
}

var (
	specPassed  = types.SpecStatePassed.String()
	specSkipped = types.SpecStateSkipped.String()
)

// specName is a spec's name without that of the container around them all.
func specName(full string) string { return strings.TrimPrefix(full, suiteName+" ") }

func (r *Result) write(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the summary: %w", err)
	}
	if err := renameio.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the summary: %w", err)
	}
	return nil
}

// tellSpec prints one line for a spec that ran, and all of a failure.
func (s *suite) tellSpec(report types.SpecReport) {
	if !report.LeafNodeType.Is(types.NodeTypeIt) {
		return
	}
	name := specName(report.FullText())
	switch state := specState(report); {
	case state == blocked:
		s.progress.say("blocked %s", name)
	case report.State.Is(types.SpecStatePassed):
		s.progress.say("ok      %s (%.1fs)", name, report.RunTime.Seconds())
	case report.State.Is(types.SpecStateFailureStates):
		s.progress.say("FAILED  %s (%.1fs)\n%s", name, report.RunTime.Seconds(), indent(report.Failure.Message))
	case report.Failure.Message != "":
		s.progress.say("skipped %s: %s", name, report.Failure.Message)
	}
}

func indent(text string) string {
	return "          " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n          ")
}
