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
