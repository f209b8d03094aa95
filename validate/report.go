package validate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// Verdict is what a report says about the whole target.
type Verdict string

// The verdicts. Unknown means that nothing failed, but that some checks could
// not be told: this process may not read what they need, or a running program
// does not answer.
const (
	Passed  Verdict = "pass"
	Failed  Verdict = "fail"
	Unknown Verdict = "unknown"
)

// Report is the answer of Run. It marshals to the JSON that the command line
// prints.
type Report struct {
	Target string `json:"target"`
	// SHA256 is the digest of the file that was looked into; see Identify.
	SHA256        string    `json:"sha256,omitempty"`
	Profile       string    `json:"profile"`                 // empty without one
	ProfileSHA256 string    `json:"profileSHA256,omitempty"` // the profile's Hash
	Tool          string    `json:"tool,omitempty"`          // version of this program
	Started       time.Time `json:"started,omitzero"`
	Verdict       Verdict   `json:"verdict"`
	Findings      []Finding `json:"findings"` // in the order of the catalogue

	Elapsed time.Duration `json:"-"`

	checks []Check
}

// Err is nil if the target passed, and an error with exit code 1 if it failed
// or 75 if there is no verdict.
func (r Report) Err() error {
	switch r.Verdict {
	case Passed:
		return nil
	case Failed:
		return exitcode.With(exitcode.Failed, fmt.Errorf("%s failed %s", r.Target, plural(r.red(), "check")))
	}
	return exitcode.Transient(errors.New("no verdict: some checks could not be told"))
}

// Identify records the digest of the file that t has open, so that the report
// can be told to be about that very image. Targets without a digest, such as
// directories, leave it empty.
func (r *Report) Identify(ctx context.Context, t *target.Target) (err error) {
	r.SHA256, err = t.Digest(ctx)
	return err
}

// red counts the checks that failed.
func (r Report) red() int {
	ids := map[string]bool{}
	for _, f := range r.Findings {
		if f.Outcome == Fail {
			ids[f.ID] = true
		}
	}
	return len(ids)
}

// check returns the check behind a finding.
func (r Report) check(id string) Check {
	for _, c := range r.checks {
		if c.ID == id {
			return c
		}
	}
	return Check{ID: id, Title: id}
}

// WriteJSON prints the report as one JSON object.
func (r Report) WriteJSON(w io.Writer) error {
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
