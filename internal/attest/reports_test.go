package attest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// summary is a whole summary of a passed run; %IMAGE% is the image's digest.
const summary = `{
  "schema": "nodeimage.dev/e2e-summary/v1", "verdict": "passed", "image": "node.qcow2",
  "sha256": "%IMAGE%", "sha256After": "%IMAGE%",
  "profile": "debian-13", "profileSHA256": "%PROFILE%", "tool": "0.1.0-dev", "standIns": [],
  "soak": "5m0s", "started": "2026-11-23T10:00:00Z", "seconds": 600.5,
  "counts": {"passed": 2, "failed": 0, "blocked": 0, "skipped": 1, "excluded": 0},
  "specs": [
    {"name": "node image boot runs without swap", "labels": ["boot"], "state": "passed", "seconds": 0.5},
    {"name": "node image kube-proxy stays up, and the control plane with it, over 5m0s", "labels": ["soak"], "state": "passed", "seconds": 300},
    {"name": "node image boot grew its root file system", "labels": ["boot"], "state": "skipped", "seconds": 0.1, "message": "small"}
  ],
  "machines": [{"accel": "tcg"}, {"accel": "kvm"}, {"accel": "kvm"}], "measured": {}
}`

const report = `{
  "target": "node.qcow2", "sha256": "%IMAGE%", "profile": "", "tool": "0.1.0-dev", "started": "2026-11-23T10:00:00Z", "verdict": "pass",
  "findings": [
    {"id": "swap-enabled", "outcome": "pass"},
    {"id": "swap-in-use", "outcome": "skip"},
    {"id": "logs-present", "outcome": "warn"},
    {"id": "logs-present", "outcome": "pass"}
  ]
}`

func fillIn(text string) []byte {
	return []byte(strings.NewReplacer("%IMAGE%", sumOf("image"), "%PROFILE%", sumOf("profile")).Replace(text))
}

func TestReadE2E(t *testing.T) {
	t.Parallel()
	data := fillIn(summary)
	got, about, err := readE2E(data)
	if err != nil || about != sumOf("image") {
		t.Fatalf("about %s, %v", about, err)
	}
	want := TestResult{
		Suite: SuiteE2E, Result: Passed, ReportSHA256: hexSum(data), Tool: "0.1.0-dev", Finished: time.Date(2026, 11, 23, 10, 10, 0, 0, time.UTC),
		Passed: []string{"boot runs without swap", "kube-proxy stays up, and the control plane with it, over 5m0s"},
		NotRun: []string{"boot grew its root file system"}, Profile: "debian-13", ProfileSHA256: sumOf("profile"),
		Soak: 5 * time.Minute, Accelerators: []string{"kvm", "tcg"}, Unchanged: true,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	// A soak that was asked for and did not pass is none.
	got, _, err = readE2E([]byte(strings.Replace(string(data), `["soak"]`, `["slow"]`, 1)))
	if err != nil || got.Soak != 0 {
		t.Errorf("soak %s, %v; want none", got.Soak, err)
	}
	got, _, err = readE2E([]byte(strings.Replace(string(data), `"sha256After": "`+sumOf("image"), `"sha256After": "`, 1)))
	if err != nil || got.Unchanged {
		t.Errorf("unchanged although nothing was compared, %v", err)
	}
}

func TestReadE2ERefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ old, with, want string }{
		"truncated":           {`"machines"`, "", "no whole JSON document"},
		"another schema":      {"e2e-summary/v1", "e2e-summary/v2", "schema is"},
		"validate's report":   {`"schema"`, `"x"`, "expected nodeimage.dev/e2e-summary/v1"},
		"no verdict":          {`"verdict": "passed"`, `"verdict": "none", "reason": "disk full"`, "there is no verdict to attest: disk full"},
		"another verdict":     {`"verdict": "passed"`, `"verdict": "fine"`, `verdict is "fine"`},
		"a failed spec":       {`"state": "skipped"`, `"state": "failed"`, "result is PASSED and 1 tests failed"},
		"a spec removed":      {`{"name": "node image boot runs without swap", "labels": ["boot"], "state": "passed", "seconds": 0.5},`, "", "counts say"},
		"an unknown state":    {`"state": "skipped"`, `"state": "great"`, `state is "great"`},
		"a spec twice":        {"node image boot grew its root file system", "node image boot runs without swap", "is listed as passed and as not run"},
		"no specs":            {`"passed": 2, "failed": 0, "blocked": 0, "skipped": 1`, `"passed": 0, "failed": 0, "blocked": 0, "skipped": 0`, "counts say"},
		"image changed":       {`"sha256After": "` + sumOf("image"), `"sha256After": "` + sumOf("other"), "a run must not change the image"},
		"stand-ins not said":  {`"standIns": [],`, "", "standIns: missing"},
		"no machine":          {`"machines": [{"accel": "tcg"}, {"accel": "kvm"}, {"accel": "kvm"}]`, `"machines": []`, "machines: the list is empty"},
		"a run on a host":     {`"image": "node.qcow2"`, `"host": "root@node", "image": ""`, "and on no image"},
		"no beginning":        {`"started": "2026-11-23T10:00:00Z",`, "", "started, seconds"},
		"a soak that is none": {`"soak": "5m0s"`, `"soak": "long"`, `soak is "long"`},
	} {
		text := string(fillIn(summary))
		if !strings.Contains(text, test.old) {
			t.Fatalf("%s: the summary has no %q", name, test.old)
		}
		text = strings.Replace(text, test.old, test.with, 1)
		if name == "truncated" {
			text = text[:len(text)-20]
		}
		if _, _, err := readE2E([]byte(text)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestReadValidate(t *testing.T) {
	t.Parallel()
	data := fillIn(report)
	got, about, err := readValidate(data)
	if err != nil || about != sumOf("image") {
		t.Fatalf("about %s, %v", about, err)
	}
	want := TestResult{
		Suite: SuiteValidate, Result: Warned, ReportSHA256: hexSum(data), Tool: "0.1.0-dev", Finished: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
		Passed: []string{"swap-enabled"}, Warned: []string{"logs-present"}, NotRun: []string{"swap-in-use"},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	for name, test := range map[string]struct{ old, with, want string }{
		"truncated":       {"  ]\n}", "", "no whole JSON document"},
		"no digest":       {`"sha256": "` + sumOf("image") + `",`, "", "sha256: missing"},
		"no time":         {`"started": "2026-11-23T10:00:00Z",`, "", "started: missing"},
		"could not tell":  {`"verdict": "pass"`, `"verdict": "unknown"`, "no verdict to attest"},
		"another verdict": {`"verdict": "pass"`, `"verdict": ""`, "expected pass or fail"},
		"a failed check":  {`"outcome": "skip"`, `"outcome": "fail"`, "1 tests failed"},
		"no failed check": {`"verdict": "pass"`, `"verdict": "fail"`, "no finding failed"},
		"unknown outcome": {`"outcome": "skip"`, `"outcome": "great"`, `outcome is "great"`},
	} {
		text := string(data)
		if !strings.Contains(text, test.old) {
			t.Fatalf("%s: the report has no %q", name, test.old)
		}
		if _, _, err := readValidate([]byte(strings.Replace(text, test.old, test.with, 1))); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}
