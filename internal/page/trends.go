package page

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
)

func itoa(n int) string { return strconv.Itoa(n) }

// trends is what all runs that are known say together.
type trends struct {
	Runs  int
	Flake string // for people
	Infra string
	Times []timeRow
}

type timeRow struct {
	Stage    string
	Runs     int
	P50, P95 string
}

// percentile of sorted values by nearest rank; p in percent.
func percentile(sorted []float64, p int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := (p*len(sorted) + 99) / 100
	return sorted[max(rank, 1)-1]
}

// flakes counts verdicts about one ID that differ from most of that ID's: the
// same inputs must give the same verdict. of is how many runs could show it.
func flakes(history []matrix.RunRecord) (differ, of int) {
	type count struct{ passed, failed int }
	byID := map[string]count{}
	for _, r := range history {
		c := byID[r.ID]
		switch r.Verdict {
		case matrix.Passed:
			c.passed++
		case matrix.Failed:
			c.failed++
		}
		byID[r.ID] = c
	}
	for _, c := range byID {
		if n := c.passed + c.failed; n > 1 {
			of += n
			differ += min(c.passed, c.failed)
		}
	}
	return differ, of
}

func rate(part, of int) string { return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(of)) }

func flakeText(differ, of int) string {
	if of == 0 {
		return "no inputs ran twice yet"
	}
	return fmt.Sprintf("%s (%d of %d repeated runs)", rate(differ, of), differ, of)
}

var stages = []matrix.Stage{matrix.StageBuild, matrix.StageValidate, matrix.StageE2E, matrix.StageAttest}

// times are the 50th and 95th percentile of each stage's time over runs.
func times(histories ...[]matrix.RunRecord) []timeRow {
	var rows []timeRow
	for _, s := range stages {
		var values []float64
		for _, h := range histories {
			for _, r := range h {
				if v := r.Seconds[s]; v > 0 {
					values = append(values, v)
				}
			}
		}
		if len(values) == 0 {
			continue
		}
		slices.Sort(values)
		rows = append(rows, timeRow{string(s), len(values), seconds(percentile(values, 50)), seconds(percentile(values, 95))})
	}
	return rows
}

func newTrends(c matrix.Collected) trends {
	var t trends
	differ, of, withInfra := 0, 0, 0
	histories := make([][]matrix.RunRecord, 0, len(c.Cells))
	for _, cell := range c.Cells {
		histories = append(histories, cell.History)
		t.Runs += len(cell.History)
		d, o := flakes(cell.History)
		differ, of = differ+d, of+o
		for _, r := range cell.History {
			if r.InfraFailures > 0 {
				withInfra++
			}
		}
	}
	t.Flake = flakeText(differ, of)
	t.Infra = "none"
	if t.Runs > 0 && withInfra > 0 {
		t.Infra = fmt.Sprintf("%s (%d of %d runs)", rate(withInfra, t.Runs), withInfra, t.Runs)
	}
	t.Times = times(histories...)
	return t
}
