package matrix_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix/matrixtest"
)

func key(t *testing.T) *attest.PrivateKey {
	t.Helper()
	k, err := attest.GenerateKey(attest.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A verdict counts if it is signed, of the cell's very ID, whole and as expected.
func TestReuse(t *testing.T) {
	t.Parallel()
	trusted, stranger := key(t), key(t)
	green := matrixtest.Plan(1).Cells[0]
	bad := green
	bad.KnownBad = known(nil)
	type result = attest.TestResult
	e2e := func(change func(*result)) result {
		r := result{Suite: attest.SuiteE2E, Result: attest.Passed, Passed: []string{"boot"}, StandIns: []string{}, Soak: time.Minute,
			Finished: now.Add(-time.Hour), ReportSHA256: sha("r"), Cell: green.ID, Unchanged: true}
		if change != nil {
			change(&r)
		}
		return r
	}
	offline := func(change func(*result)) result {
		return e2e(func(r *result) {
			r.Suite, r.Soak = attest.SuiteValidate, 0
			if change != nil {
				change(r)
			}
		})
	}
	red := func(r *result) { r.Result, r.Passed, r.Failed = attest.Failed, nil, []string{"boot"} }
	named := func(r *result) { red(r); r.Causes = []string{"cgroup-driver-mismatch"} }
	for _, tt := range []struct {
		name    string
		cell    matrix.Cell
		results []result
		signer  *attest.PrivateKey
		other   bool // the second is about another image
		maxAge  time.Duration
		want    bool
	}{
		{"both stages", green, []result{offline(nil), e2e(nil)}, trusted, false, 0, true},
		{"without the boot", green, []result{offline(nil)}, trusted, false, 0, false},
		{"without the checks", green, []result{e2e(nil)}, trusted, false, 0, false},
		{"of two images", green, []result{offline(nil), e2e(nil)}, trusted, true, 0, false},
		{"a stranger's", green, []result{offline(nil), e2e(nil)}, stranger, false, 0, false},
		{"of another cell", green, []result{offline(nil), e2e(func(r *result) { r.Cell = sha("other") })}, trusted, false, 0, false},
		{"of no cell", green, []result{offline(nil), e2e(func(r *result) { r.Cell = "" })}, trusted, false, 0, false},
		{"a stand-in", green, []result{offline(nil), e2e(func(r *result) { r.StandIns = []string{"machine"} })}, trusted, false, 0, false},
		{"red", green, []result{offline(nil), e2e(red)}, trusted, false, 0, false},
		{"red after green", green, []result{offline(nil), e2e(nil), e2e(func(r *result) { red(r); r.Finished = now })}, trusted, false, 0, false},
		{"green after red", green, []result{offline(nil), e2e(red), e2e(func(r *result) { r.Finished = now })}, trusted, false, 0, true},
		{"too old", green, []result{offline(nil), e2e(nil)}, trusted, false, time.Minute, false},
		{"from the future", green, []result{offline(nil), e2e(func(r *result) { r.Finished = now.Add(time.Hour) })}, trusted, false, 0, false},
		{"known to be bad, named", bad, []result{e2e(named)}, trusted, false, 0, true},
		{"known to be bad, not named", bad, []result{e2e(red)}, trusted, false, 0, false},
		{"known to be bad, green", bad, []result{offline(nil), e2e(nil)}, trusted, false, 0, false},
		{"known to be bad, red elsewhere", bad, []result{offline(named)}, trusted, false, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, results := t.TempDir(), t.TempDir()
			for i, r := range tt.results {
				image := sha("image")
				if tt.other && i == 1 {
					image = sha("image two")
				}
				statement, err := r.Statement(attest.Subject{Name: "node.qcow2", SHA256: image}, now)
				if err != nil {
					t.Fatal(err)
				}
				data, err := attest.Seal(t.Context(), statement, tt.signer)
				if err != nil {
					t.Fatal(err)
				}
				for _, folder := range []string{dir, filepath.Join(results, matrix.CellsDir, "cell", matrix.AttestationsDir)} {
					if err := os.MkdirAll(folder, 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(folder, string(rune('a'+i))+attest.BundleSuffix), data, 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, folder := range []string{dir, results} {
				plan := matrix.Plan{Matrix: "one", Cells: []matrix.Cell{tt.cell}}
				_, err := plan.Reuse(t.Context(), matrix.ReuseOptions{Dir: folder, Keys: []attest.PublicKey{trusted.Public()}, MaxAge: tt.maxAge, Now: now})
				if err != nil {
					t.Fatal(err)
				}
				if got := plan.Cells[0].Attested != nil; got != tt.want {
					t.Errorf("reused: %t, want %t", got, tt.want)
				}
			}
		})
	}
	plan := matrixtest.Plan(1)
	if _, err := plan.Reuse(t.Context(), matrix.ReuseOptions{Dir: t.TempDir(), Now: now}); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("without a key: %v", err)
	}
}
