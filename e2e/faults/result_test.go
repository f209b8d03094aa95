package faults

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func TestMergeReports(t *testing.T) {
	t.Parallel()
	since := 73.6
	offline := Report{Schema: ResultSchema, Image: "i.qcow2", Seconds: 5, Results: []Result{
		{ID: Unchanged, Stage: StageValidate, AsDeclared: true}, {ID: "b1", Stage: StageValidate, AsDeclared: true}}}
	first := Report{Schema: ResultSchema, Seconds: 300, Results: []Result{{ID: "b1", Stage: StageE2E, Problems: []string{"the `fault` is\nnot caught"}}}}
	again := Report{Schema: ResultSchema, Seconds: 200, Results: []Result{
		{ID: "b1", Stage: StageE2E, AsDeclared: true, Cause: "denied", Seconds: 198.4, SinceInit: &since, MadeIn: 12.5},
		{ID: "a1", Stage: StageE2E, AsDeclared: true, Severity: "warning"}}}
	var all Report
	all.Merge(first, again, offline)
	var got []string
	for _, r := range all.Results {
		got = append(got, r.ID+" "+string(r.Stage)+" "+r.caught())
	}
	want := []string{"unchanged validate yes", "a1 e2e yes, as a warning", "b1 validate yes", "b1 e2e yes"}
	if diff := cmp.Diff(want, got); diff != "" || all.Seconds != 505 || all.Schema != ResultSchema {
		t.Errorf("%s\n%+v", diff, all)
	}
	var b strings.Builder
	if err := all.WriteMarkdown(&b); err != nil || !strings.Contains(b.String(), "| b1 | e2e | yes | denied | 198.4 | 73.6 | 12.5 |\n") || !strings.Contains(b.String(), "4 of 4 as declared") {
		t.Errorf("%v\n%s", err, b.String())
	}
	b.Reset()
	if err := first.WriteMarkdown(&b); err != nil || !strings.Contains(b.String(), "- b1 (e2e): `the 'fault' is not caught`") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestReadReportRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{`:                        "unexpected EOF",
		`{"schema":"other"}`:       `expected "` + ResultSchema + `"`,
		`{"schema":"x","extra":1}`: "extra",
	} {
		path := filepath.Join(t.TempDir(), JSONFile)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadReport(path); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := ReadReport(filepath.Join(t.TempDir(), "none")); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("no file: %v", err)
	}
}
