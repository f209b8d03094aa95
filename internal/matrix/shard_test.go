package matrix_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/matrix/matrixtest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// Every cell is in exactly one shard, whatever their number.
func TestShards(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 7, 100} {
		cells := matrixtest.Plan(n).Cells
		for of := 1; of <= 12; of++ {
			var all []matrix.Cell
			least, most := n, 0
			for k := range of {
				part := matrix.Shard{Index: k, Of: of}.Cells(cells)
				least, most = min(least, len(part)), max(most, len(part))
				all = append(all, part...)
			}
			if len(all) != n || most-least > 1 {
				t.Errorf("%d cells in %d parts: %d, sizes %d to %d", n, of, len(all), least, most)
			}
			for i := range all {
				if all[i].ID != cells[i].ID {
					t.Fatalf("%d cells in %d parts: the order changed", n, of)
				}
			}
		}
	}
	for _, text := range []string{"", "1", "1/0", "4/4", "-1/4", "0/4/1", "01/4", "a/b"} {
		if s, err := matrix.ParseShard(text); exitcode.Of(err) != exitcode.Usage {
			t.Errorf("%q is taken for %v", text, s)
		}
	}
	if s, err := matrix.ParseShard("3/4"); err != nil || s.String() != "3/4" {
		t.Errorf("3/4: %v, %v", s, err)
	}
}

func TestTicket(t *testing.T) {
	t.Parallel()
	e := expand(t, good, matrixtest.Tool(), base("b1"))
	e.Plan.Cells[1].Attested = &matrix.Attested{File: "x"}
	var b bytes.Buffer
	if err := e.Ticket().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ticket.json")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	ticket, err := matrix.ReadTicket(path)
	if err != nil {
		t.Fatal(err)
	}
	bases := func(_ context.Context, p *profiles.Profile) (string, error) { return ticket.Bases[p.Name], nil }
	elsewhere := expand(t, good, matrixtest.Tool(), bases)
	cells, err := ticket.Check(elsewhere.Plan)
	if err != nil || len(cells) != 3 {
		t.Fatalf("%d cells, %v; want all but the one with a verdict", len(cells), err)
	}
	for _, c := range cells {
		if c.ID == e.Plan.Cells[1].ID {
			t.Error("the cell with a signed verdict is wanted")
		}
	}
	other := matrixtest.Tool()
	other.SHA256 = strings.Repeat("b", 64)
	if _, err := ticket.Check(expand(t, good, other, bases).Plan); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("another program takes the ticket: %v", err)
	}
	if _, err := ticket.Check(expand(t, strings.Replace(good, "2027-01-31", "2028-01-31", 1), matrixtest.Tool(), bases).Plan); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("another expectation takes the ticket: %v", err)
	}
}
