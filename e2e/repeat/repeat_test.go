package repeat

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// emptyDigest is the SHA-256 of an empty file.
const emptyDigest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// runner answers with results in turn, and leaves each as a run does.
func runner(t *testing.T, answers ...e2e.Result) (Runner, *int) {
	t.Helper()
	dir := t.TempDir()
	image := filepath.Join(dir, "image.qcow2")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	calls := 0
	return Runner{
		Options: e2e.Options{Image: image, OutputDir: filepath.Join(dir, "out"), LabelFilter: "!slow"},
		Runs:    len(answers),
		Suite: func(_ context.Context, o e2e.Options) (e2e.Result, error) {
			r := answers[calls]
			calls++
			if r.Verdict == e2e.None {
				return r, exitcode.Transient(errors.New(r.Reason))
			}
			if r.Verdict == "" {
				return r, exitcode.BadInput(errors.New("no such image"))
			}
			r.SHA256, r.LabelFilter, r.Soak = emptyDigest, o.LabelFilter, e2e.DefaultSoak.String()
			data, err := json.Marshal(r)
			if err := errors.Join(err, os.MkdirAll(o.OutputDir, 0o755), os.WriteFile(filepath.Join(o.OutputDir, e2e.SummaryFile), data, 0o600)); err != nil {
				t.Error(err)
			}
			return r, nil
		},
	}, &calls
}

func passed(seconds, gone float64) e2e.Result {
	return e2e.Result{Verdict: e2e.Passed, Seconds: seconds, Measured: map[string]float64{"gone-trap-seconds": gone}}
}

func TestRun(t *testing.T) {
	t.Parallel()
	failed := e2e.Result{Verdict: e2e.Failed, Seconds: 1000, Measured: map[string]float64{"gone-trap-seconds": 999},
		Specs:  []e2e.Spec{{Name: "boots", State: "passed"}, {Name: "ends a pod", State: "timedout"}},
		Causes: []e2e.Cause{{ID: "disk-full"}}}
	r, calls := runner(t, passed(300, 40), passed(280, 30), failed, e2e.Result{Verdict: e2e.None, Reason: "no | accelerator"}, passed(290, 50))
	report, err := r.Run(t.Context())
	if err != nil || *calls != 5 {
		t.Fatalf("%d calls, %v", *calls, err)
	}
	want := map[string]Spread{"seconds": {3, 280, 290, 300}, "gone-trap-seconds": {3, 30, 40, 50}}
	if diff := cmp.Diff(want, report.Measured); diff != "" {
		t.Error(diff) // a run that failed says nothing about what is normal
	}
	if err := report.Err(); exitcode.Of(err) != exitcode.Failed || !strings.Contains(err.Error(), "5 runs: 3 passed, 1 failed, 1 without a verdict") {
		t.Errorf("error %v", err)
	}
	if run := report.Runs[2]; cmp.Diff(run.Failed, []string{"ends a pod"})+cmp.Diff(run.Causes, []string{"disk-full"}) != "" {
		t.Errorf("the failed run: %+v", run)
	}
	text, err := os.ReadFile(filepath.Join(r.Options.OutputDir, MarkdownFile))
	if err != nil || !strings.Contains(string(text), "| run-03 | failed |") || !strings.Contains(string(text), "| gone-trap-seconds | 3 | 30.0 | 40.0 | 50.0 |") {
		t.Errorf("%v\n%s", err, text)
	}

	// What has a verdict counts, and only the run without one is made again.
	again, calls := runner(t, passed(310, 60), passed(1, 1), passed(1, 1), passed(1, 1), passed(1, 1))
	again.Options = r.Options
	report, err = again.Run(t.Context())
	if err != nil || *calls != 1 || report.Runs[3].Verdict != e2e.Passed || report.Measured["seconds"] != (Spread{4, 280, 295, 310}) {
		t.Errorf("%d calls, %v, %+v", *calls, err, report)
	}
	// By other specs it says nothing about these.
	other, calls := runner(t, passed(1, 1), passed(1, 1), passed(1, 1), passed(1, 1), passed(1, 1))
	other.Options = r.Options
	other.Options.LabelFilter = "boot"
	if _, err := other.Run(t.Context()); err != nil || *calls != 5 {
		t.Errorf("%d calls, %v", *calls, err)
	}
}

func TestRunWithoutVerdict(t *testing.T) {
	t.Parallel()
	r, _ := runner(t, passed(1, 1), e2e.Result{Verdict: e2e.None, Reason: "no accelerator"})
	report, err := r.Run(t.Context())
	if err != nil || exitcode.Of(report.Err()) != exitcode.Infrastructure {
		t.Errorf("%v, %v", err, report.Err())
	}
	// Bad input is the same the next time.
	r, calls := runner(t, e2e.Result{}, passed(1, 1))
	if _, err := r.Run(t.Context()); exitcode.Of(err) != exitcode.Usage || *calls != 1 {
		t.Errorf("%d calls, %v", *calls, err)
	}
	r.Options.Image = "none"
	if _, err := r.Run(t.Context()); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("no image: %v", err)
	}
}
