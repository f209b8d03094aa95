package matrix_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix/matrixtest"
)

var now = matrixtest.Start.AddDate(0, 0, 5)

func write(t testing.TB, dir string, r matrix.Result) {
	t.Helper()
	if err := matrixtest.Write(dir, r); err != nil {
		t.Fatal(err)
	}
}

func collect(t testing.TB, o matrix.CollectOptions) matrix.Collected {
	t.Helper()
	if o.Now.IsZero() {
		o.Now = now
	}
	c, err := matrix.Collect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every story of a cell has its outcome, its exit code and its reason.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		bad     *matrix.KnownBad
		story   matrixtest.Story
		outcome matrix.Outcome
		code    int
		why     string
	}{
		{"green", nil, matrixtest.Green, matrix.Good, 0, ""},
		{"red", nil, matrixtest.Red, matrix.Bad, 1, "red at the stage e2e; cause: cgroup-driver-mismatch"},
		{"red without a name", nil, matrixtest.Unnamed, matrix.Bad, 1, "none is named"},
		{"red offline", nil, matrixtest.Offline, matrix.Bad, 1, "stage validate"},
		{"recovered", nil, matrixtest.Flaky, matrix.Good, 0, ""},
		{"no verdict", nil, matrixtest.NoVerdict, matrix.NoVerdict, 75, "never started"},
		{"missing", nil, "", matrix.Missing, 75, "none of the folders has a result"},
		{"known", known(nil), matrixtest.AsPlanned, matrix.ExpectedRed, 0, ""},
		{"known and green", known(nil), matrixtest.Green, matrix.Mended, 1, "take the entry away"},
		{"known and red without a name", known(nil), matrixtest.Unnamed, matrix.OtherRed, 1, "none is named"},
		{"known and red elsewhere", known(nil), matrixtest.Offline, matrix.OtherRed, 1, "red at the stage validate"},
		{"known, no verdict", known(nil), matrixtest.NoVerdict, matrix.NoVerdict, 75, "never started"},
		{"the last day", known(func(k *matrix.KnownBad) { k.Expires = "2026-11-25" }), matrixtest.AsPlanned, matrix.ExpectedRed, 0, ""},
		{"ended", known(func(k *matrix.KnownBad) { k.Expires = "2026-11-24" }), matrixtest.AsPlanned, matrix.Expired, 1, "decide anew"},
		{"ended and green", known(func(k *matrix.KnownBad) { k.Expires = "2026-11-24" }), matrixtest.Green, matrix.Expired, 1, "decide anew"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			plan := matrixtest.Plan(1)
			plan.Cells[0].KnownBad = tt.bad
			plan.Seal()
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, matrix.CellsDir), 0o755); err != nil {
				t.Fatal(err)
			}
			if tt.story != "" {
				write(t, dir, matrixtest.Run(plan.Cells[0], tt.story, 1))
			}
			c := collect(t, matrix.CollectOptions{Plan: plan, Folders: []string{dir}})
			got := c.Cells[0]
			if got.Outcome != tt.outcome || !strings.Contains(got.Why, tt.why) || (tt.why == "") != (got.Why == "") {
				t.Errorf("got %s (%s), want %s (%s)", got.Outcome, got.Why, tt.outcome, tt.why)
			}
			if code := exitcode.Of(c.Err()); code != tt.code {
				t.Errorf("exit code %d (%v), want %d", code, c.Err(), tt.code)
			}
		})
	}
}

func known(change func(*matrix.KnownBad)) *matrix.KnownBad {
	k := &matrix.KnownBad{Cause: "cgroup-driver-mismatch", Stage: matrix.StageE2E, Tracker: "https://example.org/1", Expires: "2027-01-31"}
	if change != nil {
		change(k)
	}
	return k
}

// Only a cause that the run is certain of explains a red cell.
func TestLikelyCauseIsNotTheNamedOne(t *testing.T) {
	t.Parallel()
	cell := matrixtest.Plan(1).Cells[0]
	cell.KnownBad = known(nil)
	r := matrixtest.Run(cell, matrixtest.Red, 1)
	r.Causes[0].Certain = false
	if o, why := matrix.Judge(r, "2026-11-25"); o != matrix.OtherRed || !strings.Contains(why, "(likely)") {
		t.Errorf("got %s (%s), want %s", o, why, matrix.OtherRed)
	}
}

func TestSeveralFolders(t *testing.T) {
	t.Parallel()
	plan := matrixtest.Plan(4)
	one, two := t.TempDir(), t.TempDir()
	red, green := matrixtest.Run(plan.Cells[0], matrixtest.Red, 1), matrixtest.Run(plan.Cells[0], matrixtest.Green, 2)
	write(t, one, red)
	write(t, two, green)
	// A later run without verdict says nothing against an earlier one with.
	write(t, one, matrixtest.Run(plan.Cells[1], matrixtest.Green, 1))
	write(t, two, matrixtest.Run(plan.Cells[1], matrixtest.NoVerdict, 2))
	write(t, two, matrixtest.Run(plan.Cells[2], matrixtest.AsPlanned, 2))
	// Cut off: no cell.json.
	if err := os.MkdirAll(matrix.CellDir(one, plan.Cells[3].ID), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, folders := range [][]string{{one, two}, {two, one}} {
		c := collect(t, matrix.CollectOptions{Plan: plan, Folders: folders, OutputDir: filepath.Dir(one)})
		byID := map[string]matrix.CollectedCell{}
		for _, cell := range c.Cells {
			byID[cell.Cell.ID] = cell
		}
		first := byID[plan.Cells[0].ID]
		if first.Outcome != matrix.Good || len(first.History) != 2 || first.History[0].Verdict != matrix.Failed {
			t.Errorf("the later verdict does not count: %s, history %+v", first.Outcome, first.History)
		}
		if filepath.IsAbs(first.Folder) || !strings.HasSuffix(first.Folder, first.Cell.ID) {
			t.Errorf("folder %q: want a path below the output", first.Folder)
		}
		if got := byID[plan.Cells[1].ID]; got.Outcome != matrix.Good || len(got.History) != 2 {
			t.Errorf("a run without verdict hides one with: %s", got.Outcome)
		}
		if got := byID[plan.Cells[3].ID]; got.Outcome != matrix.Missing {
			t.Errorf("a run that was cut off counts: %s", got.Outcome)
		}
		if c.InfraFailures != 3 || c.RecoveredRuns != 0 || exitcode.Of(c.Err()) != exitcode.Infrastructure {
			t.Errorf("%d infrastructure failures, %d recovered, %v", c.InfraFailures, c.RecoveredRuns, c.Err())
		}
	}
}

// A result cannot say of itself that it was expected to be red.
func TestExpectationIsThePlans(t *testing.T) {
	t.Parallel()
	plan := matrixtest.Plan(1)
	r := matrixtest.Run(plan.Cells[0], matrixtest.Red, 1)
	r.Cell.KnownBad = known(nil)
	dir := t.TempDir()
	write(t, dir, r)
	if c := collect(t, matrix.CollectOptions{Plan: plan, Folders: []string{dir}}); c.Cells[0].Outcome != matrix.Bad {
		t.Errorf("got %s, want %s", c.Cells[0].Outcome, matrix.Bad)
	}
}

func TestDamagedResults(t *testing.T) {
	t.Parallel()
	plan := matrixtest.Plan(6)
	stray := matrixtest.Plan(7).Cells
	for _, c := range plan.Cells {
		for i, s := range stray {
			if s.ID == c.ID {
				stray = append(stray[:i:i], stray[i+1:]...)
				break
			}
		}
	}
	dir := t.TempDir()
	for _, c := range plan.Cells {
		write(t, dir, matrixtest.Run(c, matrixtest.AsPlanned, 1))
	}
	write(t, dir, matrixtest.Run(stray[0], matrixtest.Green, 1))
	file := func(i int) string { return filepath.Join(matrix.CellDir(dir, plan.Cells[i].ID), matrix.ResultFile) }
	edit := func(i int, old, new string) {
		data, err := os.ReadFile(file(i))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(data, []byte(old)) {
			t.Fatalf("no %q", old)
		}
		if err := os.WriteFile(file(i), bytes.Replace(data, []byte(old), []byte(new), 1), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	edit(0, `"schema"`, `"sch`)
	edit(1, plan.Cells[1].ID, plan.Cells[2].ID)
	edit(2, `"verdict": "`, `"verdict": "almost-`)
	edit(3, `"verdict"`, `"verdikt": 1, "verdict"`)
	if err := os.Remove(file(4)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", file(4)); err != nil {
		t.Fatal(err)
	}
	c := collect(t, matrix.CollectOptions{Plan: plan, Folders: []string{dir}})
	if len(c.Unreadable) != 5 || c.Outcomes[matrix.Missing] != 5 || len(c.Strays) != 1 {
		t.Errorf("unreadable %q, strays %q, outcomes %v; want 5, 1, 5 missing", c.Unreadable, c.Strays, c.Outcomes)
	}
	if c.Err() == nil {
		t.Error("damaged results pass")
	}
	if _, err := matrix.Collect(t.Context(), matrix.CollectOptions{Plan: plan, Folders: []string{t.TempDir()}, Now: now}); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a folder that is none of results: %v", err)
	}
}

func TestHistoryGoesOn(t *testing.T) {
	t.Parallel()
	plan := matrixtest.Plan(1)
	var last *matrix.Collected
	for nth := range 4 {
		dir := t.TempDir()
		story := matrixtest.Green
		if nth == 2 {
			story = matrixtest.Red
		}
		write(t, dir, matrixtest.Run(plan.Cells[0], story, nth))
		c := collect(t, matrix.CollectOptions{Plan: plan, Folders: []string{dir}, Previous: last})
		again := collect(t, matrix.CollectOptions{Plan: plan, Folders: []string{dir}, Previous: &c})
		if diff := cmp.Diff(c.Cells[0].History, again.Cells[0].History); diff != "" {
			t.Errorf("collecting twice changes history:\n%s", diff)
		}
		last = &c
	}
	var got []matrix.Outcome
	for _, r := range last.Cells[0].History {
		got = append(got, r.Outcome)
	}
	if diff := cmp.Diff([]matrix.Outcome{matrix.Good, matrix.Good, matrix.Bad, matrix.Good}, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

func TestReusedCells(t *testing.T) {
	t.Parallel()
	plan := matrixtest.Plan(3)
	for i := range plan.Cells {
		plan.Cells[i].KnownBad = nil
		plan.Cells[i].Attested = &matrix.Attested{File: "a.sigstore.json", Verdict: matrix.Passed}
	}
	plan.Cells[0].KnownBad = known(func(k *matrix.KnownBad) { k.Expires = "2026-11-01" })
	plan.Seal()
	c := collect(t, matrix.CollectOptions{Plan: plan})
	if c.Outcomes[matrix.Reused] != 2 || c.Outcomes[matrix.Expired] != 1 || exitcode.Of(c.Err()) != exitcode.Failed {
		t.Errorf("outcomes %v, %v; want 2 reused and 1 expired", c.Outcomes, c.Err())
	}
}

func TestDocumentsAreReadBack(t *testing.T) {
	t.Parallel()
	plan := matrixtest.Plan(3)
	dir := t.TempDir()
	for _, c := range plan.Cells {
		write(t, dir, matrixtest.Run(c, matrixtest.AsPlanned, 1))
	}
	c := collect(t, matrix.CollectOptions{Plan: plan, Folders: []string{dir}})
	var b bytes.Buffer
	if err := c.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, matrix.CollectedFile)
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := matrix.ReadCollected(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("read back (-written +read):\n%s", diff)
	}
	if err := os.WriteFile(path, b.Bytes()[:b.Len()/2], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := matrix.ReadCollected(path); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("half a document: %v", err)
	}
}

func BenchmarkCollect10000(b *testing.B) {
	plan := matrixtest.Plan(10_000)
	dir := b.TempDir()
	for _, c := range plan.Cells {
		if err := matrixtest.Run(c, matrixtest.AsPlanned, 1).Write(dir); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		c := collect(b, matrix.CollectOptions{Plan: plan, Folders: []string{dir}})
		var out bytes.Buffer
		if err := c.WriteJSON(&out); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(out.Len())/(1<<20), "MiB-document")
		b.ReportMetric(time.Since(start).Seconds(), "s")
	}
}
