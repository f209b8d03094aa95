package validate

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// sample has one finding of each outcome, with texts that want escaping.
func sample() Report {
	checks := []Check{
		{ID: "swap-enabled", Title: "swap is on", Severity: Error, Why: "it\nfails", Fix: "swapoff", References: []string{"kubernetes/kubernetes#53533"}},
		{ID: "logs-present", Title: "logs", Severity: Warning, References: []string{"https://example.com/logs"}},
		{ID: "machine-id-present", Title: "an ID", Severity: Error},
		{ID: "hostname-fixed", Title: "a name", Severity: Warning},
	}
	return Report{
		Target: "a,b:c.qcow2", Profile: "some", Verdict: Failed, Elapsed: 1234 * time.Millisecond, checks: checks,
		Findings: []Finding{
			{ID: "swap-enabled", Outcome: Fail, Severity: Error, File: "/etc/fstab", Line: 3, Key: "/swap <1>", Got: "50% & more\x1b[31m", Want: "no swap", Fix: "one\ntwo", See: []string{"https://github.com/kubernetes/kubernetes/issues/53533"}},
			{ID: "swap-enabled", Outcome: Fail, Severity: Error, File: "/etc/a b", Got: "another", Want: "no swap", Fix: "one\ntwo", See: []string{"https://github.com/kubernetes/kubernetes/issues/53533"}},
			{ID: "logs-present", Outcome: Warn, Severity: Warning, File: "/var/log/x", Got: "a log", Want: "none", Fix: "rm", See: []string{"https://example.com/logs"}},
			{ID: "machine-id-present", Outcome: Pass, Severity: Error, See: []string{}},
			{ID: "hostname-fixed", Outcome: Skip, Severity: Warning, Got: "no right", See: []string{}, untold: true},
		},
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	want := `FAIL  swap-enabled  swap is on
      at    /etc/fstab:3  /swap <1>
      got   50% & more` + "\ufffd" + `[31m
      want  no swap
      at    /etc/a b
      got   another
      want  no swap
      fix   one
            two
      see   https://github.com/kubernetes/kubernetes/issues/53533

WARN  logs-present  logs
      at    /var/log/x
      got   a log
      want  none
      fix   rm
      see   https://example.com/logs

????  hostname-fixed  no right

FAIL  a,b:c.qcow2 (profile some): 1 check failed, 1 warning, 1 passed, 1 skipped, 1.234s
`
	var got strings.Builder
	must(t, sample().WriteText(&got, TextOptions{}))
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	var colored strings.Builder
	must(t, sample().WriteText(&colored, TextOptions{Color: true}))
	if !strings.Contains(colored.String(), "\x1b[1;31mFAIL\x1b[0m") || strings.Contains(colored.String(), "more\x1b") {
		t.Errorf("colour is missing, or the image steers it:\n%q", colored.String())
	}
}

// The object and its keys are a contract with whoever reads it.
func TestJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	must(t, sample().WriteJSON(&out))
	var got struct {
		Target, Profile, Verdict string
		Findings                 []map[string]any
	}
	dec := json.NewDecoder(&out)
	dec.DisallowUnknownFields()
	must(t, dec.Decode(&got))
	if got.Target != "a,b:c.qcow2" || got.Profile != "some" || got.Verdict != "fail" || len(got.Findings) != 5 {
		t.Errorf("got %+v", got)
	}
	want := map[string]any{"id": "logs-present", "outcome": "warn", "severity": "warning", "file": "/var/log/x", "key": "", "got": "a log", "want": "none", "fix": "rm", "see": []any{"https://example.com/logs"}}
	if diff := cmp.Diff(want, got.Findings[2]); diff != "" {
		t.Errorf("finding (-want +got):\n%s", diff)
	}
	out.Reset()
	must(t, Report{Verdict: Passed}.WriteJSON(&out))
	if !strings.Contains(out.String(), `"findings": []`) {
		t.Errorf("no findings are not an empty list: %s", out.String())
	}
}

func TestJUnit(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	must(t, sample().WriteJUnit(&out))
	var got junitSuites
	must(t, xml.Unmarshal(out.Bytes(), &got))
	s := got.Suites[0]
	if s.Tests != 4 || s.Failures != 1 || s.Skipped != 1 || s.Time != "1.234" {
		t.Errorf("counts: %+v", s)
	}
	f := s.Cases[0].Failure
	if f == nil || f.Message != "swap is on" || !strings.Contains(f.Text, "/etc/fstab:3") || !strings.Contains(f.Text, "/etc/a b") {
		t.Errorf("failure: %+v", f)
	}
	if s.Cases[1].Failure != nil || !strings.Contains(s.Cases[1].Out, "a log") {
		t.Errorf("a warning is no failure, and is told: %+v", s.Cases[1])
	}
	if s.Cases[3].Skipped == nil || s.Cases[3].Skipped.Message != "no right" {
		t.Errorf("skipped: %+v", s.Cases[3])
	}
}

func TestSARIF(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	must(t, sample().WriteSARIF(&out))
	var got sarifLog
	dec := json.NewDecoder(&out)
	dec.DisallowUnknownFields()
	must(t, dec.Decode(&got))
	run := got.Runs[0]
	if got.Version != "2.1.0" || len(run.Tool.Driver.Rules) != 4 || len(run.Results) != 3 {
		t.Fatalf("version %s, %d rules, %d results", got.Version, len(run.Tool.Driver.Rules), len(run.Results))
	}
	first, second := run.Results[0], run.Results[1]
	l := first.Locations[0]
	if first.RuleID != "swap-enabled" || run.Tool.Driver.Rules[first.RuleIndex].ID != first.RuleID || first.Level != "error" ||
		l.Physical.Artifact != (sarifURI{URI: "etc/fstab", BaseID: "TARGETROOT"}) || l.Physical.Region.StartLine != 3 || l.Logical[0].Name != "/swap <1>" {
		t.Errorf("first result: %+v", first)
	}
	if second.Locations[0].Physical.Artifact.URI != "etc/a%20b" || second.Locations[0].Physical.Region != nil {
		t.Errorf("second result: %+v", second)
	}
}

func TestGitHub(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	must(t, sample().WriteGitHub(&out))
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(got) != 5 {
		t.Fatalf("%d lines, want a line a finding that is told and one for the count:\n%s", len(got), out.String())
	}
	if want := "::error title=swap-enabled%3A swap is on::a,b:c.qcow2%0Aat   /etc/fstab:3%0Akey  /swap <1>%0Agot  50%25 & more"; !strings.HasPrefix(got[0], want) {
		t.Errorf("got  %s\nwant %s", got[0], want)
	}
	if !strings.HasPrefix(got[2], "::warning title=logs-present") || !strings.HasPrefix(got[3], "::notice title=hostname-fixed") {
		t.Errorf("got %q", got[2:4])
	}
}

func TestVerdictsAndExitCodes(t *testing.T) {
	t.Parallel()
	always := func(id string, severity Severity, run func(context.Context, *Node) ([]Finding, error)) Check {
		return Check{ID: id, Severity: severity, Run: run}
	}
	found := func(context.Context, *Node) ([]Finding, error) { return []Finding{{Got: "bad"}}, nil }
	nothing := func(context.Context, *Node) ([]Finding, error) { return nil, nil }
	denied := func(context.Context, *Node) ([]Finding, error) {
		return nil, &fs.PathError{Op: "open", Path: "/etc/shadow", Err: fs.ErrPermission}
	}
	hung := func(context.Context, *Node) ([]Finding, error) { return nil, context.DeadlineExceeded }
	gone := func(context.Context, *Node) ([]Finding, error) { return nil, absent("no %s", "thing") }
	for _, test := range []struct {
		name    string
		checks  []Check
		verdict Verdict
		code    int
	}{
		{"all is well", []Check{always("a", Error, nothing)}, Passed, exitcode.OK},
		{"a warning", []Check{always("a", Warning, found)}, Passed, exitcode.OK},
		{"nothing to look at", []Check{always("a", Error, gone)}, Passed, exitcode.OK},
		{"an error", []Check{always("a", Error, nothing), always("b", Error, found)}, Failed, exitcode.Failed},
		{"no right to read", []Check{always("a", Error, denied)}, Unknown, exitcode.Infrastructure},
		{"a runtime that hangs", []Check{always("a", Error, hung)}, Unknown, exitcode.Infrastructure},
		{"no right to read, and an error", []Check{always("a", Error, denied), always("b", Error, found)}, Failed, exitcode.Failed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r, err := judge(t.Context(), &Node{}, test.checks, nil)
			must(t, err)
			if r.Verdict != test.verdict || exitcode.Of(r.Err()) != test.code {
				t.Errorf("verdict %s, exit code %d (%v); want %s, %d", r.Verdict, exitcode.Of(r.Err()), r.Err(), test.verdict, test.code)
			}
		})
	}
	damaged := always("a", Error, func(context.Context, *Node) ([]Finding, error) { return nil, exitcode.BadInput(errors.New("damaged")) })
	if _, err := judge(t.Context(), &Node{}, []Check{damaged, always("b", Error, found)}, nil); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "check a") {
		t.Errorf("a damaged target gives %v, want no verdict and exit code 2", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := judge(ctx, &Node{}, []Check{always("a", Error, nothing)}, nil); exitcode.Of(err) != exitcode.Infrastructure {
		t.Errorf("an interrupted run gives %v, want no verdict and exit code 75", err)
	}
}

func TestEscapePath(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"etc/fstab": "etc/fstab", "etc/a b": "etc/a%20b", "disk:1.raw": "./disk:1.raw", "/": "/"} {
		if got := escapePath(in); got != want {
			t.Errorf("escapePath(%q) = %q, want %q", in, got, want)
		}
	}
}
