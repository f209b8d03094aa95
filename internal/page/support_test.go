package page

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix/matrixtest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// collected makes a folder with what several runs of a synthetic plan left,
// and the document that holds them against it: all kinds of outcomes, and a
// cell that was green before.
func collected(t testing.TB, dir string, cells, nRuns int) matrix.Collected {
	t.Helper()
	p := matrixtest.Plan(cells)
	c := matrix.Collected{
		Schema: matrix.CollectedSchema, Matrix: "release 2026.11", PlanSHA256: p.SHA256, Tool: p.Tool,
		Collected: time.Date(2026, 11, 25, 21, 0, 0, 0, time.UTC), Outcomes: map[matrix.Outcome]int{},
		InfraFailures: 4, RecoveredRuns: 1,
	}
	for i, cell := range p.Cells {
		out := matrix.CollectedCell{Cell: cell}
		if i%23 == 9 {
			out.Outcome, out.Why = matrix.Missing, "planned, and no folder has its result"
			c.Cells = append(c.Cells, out)
			c.Outcomes[out.Outcome]++
			continue
		}
		for nth := range nRuns {
			story := matrixtest.AsPlanned
			if nth == nRuns-1 {
				switch i % 23 {
				case 4:
					story = matrixtest.Red
				case 6:
					story = matrixtest.Offline
				case 11:
					story = matrixtest.NoVerdict
				case 13:
					story = matrixtest.Flaky
				case 17:
					story = matrixtest.Unnamed
				}
			}
			r := matrixtest.Run(cell, story, nth)
			folder := ""
			// Of older runs only the last one's files are kept.
			if nth >= nRuns-2 {
				folder = filepath.Join("runs", r.Run)
				must(t, matrixtest.Write(filepath.Join(dir, folder), r))
				folder = matrix.CellDir(folder, cell.ID)
				read, err := os.OpenRoot(filepath.Join(dir, "runs", r.Run))
				must(t, err)
				r, err = matrix.ReadResult(read, cell.ID)
				must(t, err)
				must(t, read.Close())
			}
			o, why := matrix.Judge(r, "2026-11-25")
			out.History = append(out.History, r.Record(o, folder))
			if nth == nRuns-1 {
				out.Outcome, out.Why, out.Result, out.Folder = o, why, &r, folder
			}
		}
		c.Cells = append(c.Cells, out)
		c.Outcomes[out.Outcome]++
	}
	return c
}

// evil is a text that would run, load, break out or mislead where it can.
const evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\" onload=\"x\u202e\x1b[31m|`[x](javascript:alert(1))\n# head"

// hostile makes a document in which all that a result can say is evil, and the
// folder of its only cell, beside a file that is not the result's.
func hostile(t testing.TB, dir string) matrix.Collected {
	t.Helper()
	folder := filepath.Join(dir, "cell")
	must(t, os.MkdirAll(filepath.Join(folder, "e2e"), 0o755))
	must(t, os.WriteFile(filepath.Join(folder, "e2e", "console.log"), []byte(evil+"</pre><script>x</script>\x1b[2J\x00end"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("of the machine"), 0o600))
	must(t, os.Symlink(filepath.Join(dir, "secret"), filepath.Join(folder, "console.txt")))
	r := matrix.Result{
		Cell: matrix.Cell{ID: evil, Name: evil, Profile: evil}, Run: evil, Verdict: matrix.Failed, Started: time.Unix(0, 0), Reason: evil,
		Causes: []matrix.Cause{{ID: evil, Title: evil, Evidence: evil, Fix: evil}}, Checks: []matrix.Check{{ID: evil, Outcome: evil, Got: evil, Want: evil, File: evil}},
		Specs: []matrix.Spec{{Name: evil, State: evil, Message: evil, Seconds: -1e300}}, Stages: []matrix.StageResult{{Stage: evil, Log: "../../../etc/passwd"}, {Stage: "x", Log: "javascript:alert(1)"}},
		Evidence: []matrix.File{{Path: "e2e/console.log"}, {Path: "../../etc/passwd"}, {Path: "/etc/passwd"}, {Path: evil}, {Path: "javascript:alert(1)"}},
		Image:    matrix.Image{File: evil, SHA256: evil}, Versions: matrix.Versions{Kernel: evil, Components: map[string]string{evil: evil}},
		Infrastructure: []matrix.InfraFailure{{Stage: evil, Message: evil}}, Host: matrix.Host{Name: evil, Accel: evil},
	}
	cell := matrix.Cell{
		ID: evil, Name: evil, Profile: evil, OS: evil, Kubernetes: evil, Containerd: evil, Runc: evil, Arch: evil, Firmware: evil, Base: evil,
		KnownBad: &matrix.KnownBad{Cause: evil, Stage: evil, Tracker: "javascript:alert(1)", Reason: evil, Expires: evil}, Attested: &matrix.Attested{File: evil, Image: evil, Key: evil, Verdict: evil},
	}
	c := matrix.Collected{
		Matrix: evil, PlanSHA256: evil, Tool: matrix.Tool{Version: evil}, Strays: []string{evil}, Unreadable: []string{evil},
		Cells: []matrix.CollectedCell{{Cell: cell, Outcome: evil, Why: evil, Result: &r, Folder: "cell",
			History: []matrix.RunRecord{{ID: "a", Run: evil, Verdict: matrix.Passed, Folder: evil}, r.Record(evil, "cell")}}},
	}
	return c
}
