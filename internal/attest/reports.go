package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// maxReport bounds a report or manifest, in bytes.
const maxReport = 16 << 20

// e2eSchema is the summary that this release reads; e2e.SummarySchema.
const e2eSchema = "nodeimage.dev/e2e-summary/v1"

// e2eSuite is the container's name in front of each spec's.
const e2eSuite = "node image "

// readFile reads a regular file of at most max bytes.
func readFile(path string, max int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(data)) > max {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("more than %d MiB", max>>20)}
	}
	return data, err
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// e2eReport is what is read of summary.json, which package e2e writes.
type e2eReport struct {
	Schema        string    `json:"schema"`
	Verdict       string    `json:"verdict"`
	Reason        string    `json:"reason"`
	Host          string    `json:"host"`
	SHA256        string    `json:"sha256"`
	SHA256After   string    `json:"sha256After"`
	Profile       string    `json:"profile"`
	ProfileSHA256 string    `json:"profileSHA256"`
	Tool          string    `json:"tool"`
	StandIns      *[]string `json:"standIns"`
	LabelFilter   string    `json:"labelFilter"`
	Soak          string    `json:"soak"`
	Started       time.Time `json:"started"`
	Seconds       float64   `json:"seconds"`
	Counts        struct {
		Passed  int `json:"passed"`
		Failed  int `json:"failed"`
		Blocked int `json:"blocked"`
		Skipped int `json:"skipped"`
	} `json:"counts"`
	Specs []struct {
		Name   string   `json:"name"`
		Labels []string `json:"labels"`
		State  string   `json:"state"`
	} `json:"specs"`
	Machines []struct {
		Accel string `json:"accel"`
	} `json:"machines"`
}

// readE2E turns a summary of the booted suite into a test result about the
// image with the returned digest. What is missing or does not add up is an
// error: a report that was cut off or edited by hand says nothing.
func readE2E(data []byte) (t TestResult, about string, err error) {
	var r e2eReport
	if err := json.Unmarshal(data, &r); err != nil {
		return t, "", fmt.Errorf("it is no whole JSON document: %w", err)
	}
	if r.Schema != e2eSchema {
		return t, "", fmt.Errorf("schema is %.100q: expected %s, the summary.json of 'nodeimage e2e'", r.Schema, e2eSchema)
	}
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	t = TestResult{
		Suite: SuiteE2E, ReportSHA256: hexSum(data), Tool: r.Tool, Profile: r.Profile, ProfileSHA256: r.ProfileSHA256, Filter: r.LabelFilter,
		Finished:  r.Started.Add(time.Duration(r.Seconds * float64(time.Second))).UTC().Truncate(time.Second),
		Unchanged: r.SHA256After == r.SHA256,
	}
	if r.Host != "" {
		bad("host: the suite ran on %.200q, a machine that was up already, and on no image: expected a run over the image file", r.Host)
	}
	if r.Started.IsZero() || r.Seconds < 0 {
		bad("started, seconds: expected when the run began and how long it took")
	}
	if r.StandIns == nil {
		bad("standIns: missing, so that it cannot be told whether the image itself was booted; run the suite with this release")
	} else {
		t.StandIns = *r.StandIns
	}
	if r.SHA256After != "" && r.SHA256After != r.SHA256 {
		bad("sha256After is %.80q: expected %.80q, since a run must not change the image", r.SHA256After, r.SHA256)
	}
	soaked := false
	for _, s := range r.Specs {
		name := strings.TrimPrefix(s.Name, e2eSuite)
		switch s.State {
		case "passed":
			t.Passed = append(t.Passed, name)
			soaked = soaked || slices.Contains(s.Labels, "soak")
		case "failed", "panicked", "timedout", "interrupted", "aborted":
			t.Failed = append(t.Failed, name)
		case "skipped", "pending", "blocked":
			t.NotRun = append(t.NotRun, name)
		default:
			bad("spec %.200q: state is %.80q", name, s.State)
		}
	}
	if passed, failed, rest := len(t.Passed), len(t.Failed), len(t.NotRun); passed != r.Counts.Passed || failed != r.Counts.Failed || rest != r.Counts.Blocked+r.Counts.Skipped {
		bad("specs: %d passed, %d failed, %d did not run; counts say %d, %d and %d", passed, failed, rest, r.Counts.Passed, r.Counts.Failed, r.Counts.Blocked+r.Counts.Skipped)
	}
	if soaked {
		if t.Soak, err = time.ParseDuration(r.Soak); err != nil || t.Soak <= 0 {
			bad("soak is %.80q: expected a duration as 5m0s", r.Soak)
		}
	}
	for _, m := range r.Machines {
		if !slices.Contains(t.Accelerators, m.Accel) {
			t.Accelerators = append(t.Accelerators, m.Accel)
		}
	}
	slices.Sort(t.Accelerators)
	switch r.Verdict {
	case "passed":
		t.Result = Passed
	case "failed":
		t.Result = Failed
	case "none":
		bad("there is no verdict to attest: %s", r.Reason)
		return t, r.SHA256, errors.Join(problems...)
	default:
		bad("verdict is %.80q: expected passed or failed", r.Verdict)
		return t, r.SHA256, errors.Join(problems...)
	}
	if t.Result == Passed && len(t.Accelerators) == 0 {
		bad("machines: the list is empty and the verdict passed")
	}
	for _, c := range t.contradictions() {
		bad("%s", c)
	}
	return t, r.SHA256, errors.Join(problems...)
}

// validateReport is what is read of the report of 'nodeimage validate'.
type validateReport struct {
	SHA256        string    `json:"sha256"`
	Profile       string    `json:"profile"`
	ProfileSHA256 string    `json:"profileSHA256"`
	Tool          string    `json:"tool"`
	Started       time.Time `json:"started"`
	Verdict       string    `json:"verdict"`
	Findings      []struct {
		ID      string `json:"id"`
		Outcome string `json:"outcome"`
	} `json:"findings"`
}

// readValidate turns a report of the offline checks into a test result about
// the image with the returned digest.
func readValidate(data []byte) (t TestResult, about string, err error) {
	var r validateReport
	if err := json.Unmarshal(data, &r); err != nil {
		return t, "", fmt.Errorf("it is no whole JSON document: %w", err)
	}
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	t = TestResult{
		Suite: SuiteValidate, ReportSHA256: hexSum(data), Tool: r.Tool, Profile: r.Profile, ProfileSHA256: r.ProfileSHA256,
		Finished: r.Started.UTC().Truncate(time.Second),
	}
	if r.SHA256 == "" {
		bad("sha256: missing, so that it cannot be told which image was looked into; make the report with 'nodeimage validate --format json' over the image file")
	}
	if r.Started.IsZero() {
		bad("started: missing; make the report with this release")
	}
	// A check may have several findings; the worst is its outcome.
	rank := map[string]int{"pass": 1, "skip": 2, "warn": 3, "fail": 4}
	worst := map[string]int{}
	var order []string
	for _, f := range r.Findings {
		n, known := rank[f.Outcome]
		if !known || f.ID == "" {
			bad("finding %.100q: outcome is %.80q", f.ID, f.Outcome)
			continue
		}
		if worst[f.ID] == 0 {
			order = append(order, f.ID)
		}
		worst[f.ID] = max(worst[f.ID], n)
	}
	for _, id := range order {
		switch worst[id] {
		case 1:
			t.Passed = append(t.Passed, id)
		case 2:
			t.NotRun = append(t.NotRun, id)
		case 3:
			t.Warned = append(t.Warned, id)
		case 4:
			t.Failed = append(t.Failed, id)
		}
	}
	switch r.Verdict {
	case "pass":
		t.Result = Passed
		if len(t.Warned) > 0 {
			t.Result = Warned
		}
	case "fail":
		t.Result = Failed
		if len(t.Failed) == 0 {
			bad("verdict is fail and no finding failed")
		}
	case "unknown":
		bad("there is no verdict to attest: some checks could not be told")
		return t, r.SHA256, errors.Join(problems...)
	default:
		bad("verdict is %.80q: expected pass or fail", r.Verdict)
		return t, r.SHA256, errors.Join(problems...)
	}
	for _, c := range t.contradictions() {
		bad("%s", c)
	}
	return t, r.SHA256, errors.Join(problems...)
}
