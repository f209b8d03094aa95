package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix/matrixtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/page"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func matrixVerb(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out, progress bytes.Buffer
	root := newRoot(&out, &progress)
	root.SetArgs(append([]string{"matrix"}, args...))
	err = root.ExecuteContext(t.Context())
	return out.String(), err
}

// Every built-in profile is built and booted for real by a workflow: debian-13
// by the matrix that ships, the others by that of the systems.
func TestEverySystemIsRunForReal(t *testing.T) {
	t.Parallel()
	text, err := matrixVerb(t, "plan", "../../docs/templates/matrix/systems.yaml", "--offline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(profiles.Names(), "ubuntu-24.04-arm64") {
		if name != "debian-13" && !strings.Contains(text, " "+name+"/kubernetes-") {
			t.Errorf("no cell of %s in:\n%s", name, text)
		}
	}
}

const shippedMatrix = "../../docs/templates/matrix/matrix.yaml"

// The matrix that ships is planned, run by no machine, and collect says so.
func TestMatrixPlanAndCollect(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, err := matrixVerb(t, "plan", shippedMatrix, "--offline", "--save", dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"debian-13/kubernetes-1.36.4/containerd-2.3.7", "red: cgroup-driver-mismatch", "5 cells, 5 to run"} {
		if !strings.Contains(text, want) {
			t.Errorf("plan lacks %q:\n%s", want, text)
		}
	}
	out, err := matrixVerb(t, "plan", shippedMatrix, "--ticket", filepath.Join(dir, "ticket.json"), "-o", "github", "--shards", "2")
	if err != nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, `{"include":[{"shard":"0/2","arch":"amd64","cells":2},{"shard":"1/2"`) {
		t.Errorf("got %q, %v", out, err)
	}
	plan, err := matrix.ReadPlan(filepath.Join(dir, "plan.json"))
	if err != nil {
		t.Fatal(err)
	}
	results := filepath.Join(dir, "results")
	for _, c := range plan.Cells[1:] {
		r := matrixtest.Run(c, matrixtest.Green, 1)
		if c.KnownBad != nil {
			r = matrixtest.Run(c, matrixtest.Offline, 1)
			r.Causes[0].ID = c.KnownBad.Cause
		}
		if err := matrixtest.Write(results, r); err != nil {
			t.Fatal(err)
		}
	}
	report := filepath.Join(dir, "report")
	out, err = matrixVerb(t, "collect", results, "--plan", filepath.Join(dir, "plan.json"), "-o", report)
	if exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(out, "missing      "+plan.Cells[0].ID[:12]) {
		t.Errorf("a cell is missing: %v\n%s", err, out)
	}
	if c, err := matrix.ReadCollected(filepath.Join(report, matrix.CollectedFile)); err != nil || len(c.Cells) != 5 || c.Outcomes[matrix.ExpectedRed]+c.Outcomes[matrix.Good] != 4 {
		t.Errorf("collected: %+v, %v", c.Outcomes, err)
	}
	for file, want := range map[string]string{page.IndexFile: "missing", page.SummaryFile: "missing", page.BadgeFile: "<svg"} {
		if text, err := os.ReadFile(filepath.Join(report, file)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s has no %q: %v", file, want, err)
		}
	}
	// A plan from which a cell was cut must not make the missing one vanish.
	var cut matrix.Plan
	data, err := os.ReadFile(filepath.Join(dir, "plan.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &cut); err != nil {
		t.Fatal(err)
	}
	cut.Cells = cut.Cells[1:]
	if data, err = json.Marshal(cut); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cut.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := matrixVerb(t, "collect", results, "--plan", filepath.Join(dir, "cut.json"), "-o", report); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a plan that was cut: %v", err)
	}
}

func TestMatrixBadInput(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"plan"},
		{"plan", "missing.yaml"},
		{"plan", shippedMatrix, "--offline", "-o", "jenkins"},
		{"plan", shippedMatrix, "--offline", "-o", "kubernetes"},
		{"plan", shippedMatrix, "--offline", "--attestations", "."},
		{"run", shippedMatrix, "--offline"},
		{"run", shippedMatrix, "--offline", "--all", "--shard", "0/2"},
		{"run", shippedMatrix, "--offline", "--shard", "2/2"},
		{"run", shippedMatrix, "--offline", "--cell", "none"},
		{"run", shippedMatrix, "--offline", "--all", "--key", "missing.key"},
		{"run", shippedMatrix, "--offline", "--all", "--memory", "100"},
		{"collect", "."},
		{"collect", ".", "--plan", "missing.json"},
	} {
		if _, err := matrixVerb(t, args...); exitcode.Of(err) != exitcode.Usage {
			t.Errorf("matrix %s: %v, want bad input", strings.Join(args, " "), err)
		}
	}
}
