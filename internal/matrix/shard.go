package matrix

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// Shard is one of equal parts of the cells that are to be run.
type Shard struct{ Index, Of int }

var shardText = regexp.MustCompile(`^(0|[1-9][0-9]{0,5})/([1-9][0-9]{0,5})$`)

// ParseShard reads K/N: part K of N, counted from 0, as engines count theirs.
func ParseShard(text string) (Shard, error) {
	m := shardText.FindStringSubmatch(text)
	if m == nil {
		return Shard{}, exitcode.BadInput(fmt.Errorf("shard %q: expected K/N, such as 0/4 for the first of four", text))
	}
	k, _ := strconv.Atoi(m[1]) // digits, and few of them
	n, _ := strconv.Atoi(m[2])
	if k >= n {
		return Shard{}, exitcode.BadInput(fmt.Errorf("shard %q: the parts of %d are 0 to %d", text, n, n-1))
	}
	return Shard{k, n}, nil
}

// String is K/N.
func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.Index, s.Of) }

// Cells returns the shard's part: parts differ by one cell at most, have each
// cell once, and keep cells of one image together as far as that allows.
func (s Shard) Cells(all []Cell) []Cell {
	return all[len(all)*s.Index/s.Of : len(all)*(s.Index+1)/s.Of]
}

// Wanted returns the cells that have to be run: those without a signed verdict.
func (p Plan) Wanted() []Cell {
	return slices.DeleteFunc(slices.Clone(p.Cells), func(c Cell) bool { return c.Attested != nil })
}

// TicketSchema is the version of the Ticket document.
const TicketSchema = "nodeimage.dev/matrix-ticket/v1"

// idPrefix is how much of an ID a ticket has.
const idPrefix = 16

// Ticket is the little that a machine needs beside the matrix file to make the
// very plan that another made, and to know which of its cells are wanted.
type Ticket struct {
	Schema     string            `json:"schema"`
	PlanSHA256 string            `json:"planSHA256"`
	Bases      map[string]string `json:"bases"` // by profile
	// Wanted are the beginnings of the IDs of the cells to run; nil for all.
	Wanted []string `json:"wanted,omitempty"`
}

// Ticket returns the plan's.
func (e *Expanded) Ticket() Ticket {
	t := Ticket{Schema: TicketSchema, PlanSHA256: e.Plan.SHA256, Bases: e.Bases}
	if wanted := e.Plan.Wanted(); len(wanted) < len(e.Plan.Cells) {
		t.Wanted = []string{}
		for _, c := range wanted {
			t.Wanted = append(t.Wanted, c.ID[:idPrefix])
		}
	}
	return t
}

// ReadTicket reads a ticket; an error is bad input.
func ReadTicket(path string) (t Ticket, err error) {
	if err := readDocument(path, maxPlan, &t, func() (got, want string) { return t.Schema, TicketSchema }); err != nil {
		return t, exitcode.BadInput(fmt.Errorf("reading the ticket %s: %w", path, err))
	}
	return t, nil
}

// WriteJSON writes the ticket.
func (t Ticket) WriteJSON(w io.Writer) error { return json.NewEncoder(w).Encode(t) }

// Check compares a plan that was made with the ticket's bases with the one that
// the ticket is of, and returns the cells that are wanted.
func (t Ticket) Check(p Plan) ([]Cell, error) {
	if p.SHA256 != t.PlanSHA256 {
		return nil, exitcode.BadInput(fmt.Errorf("the ticket is of the plan %.64s and here it is %s: the matrix, its profiles or this program (%s) are not those that planned", t.PlanSHA256, p.SHA256, p.Tool.Version))
	}
	if t.Wanted == nil {
		return p.Cells, nil
	}
	wanted := map[string]bool{}
	for _, prefix := range t.Wanted {
		wanted[prefix] = true
	}
	var cells []Cell
	for _, c := range p.Cells {
		if wanted[c.ID[:idPrefix]] {
			cells = append(cells, c)
		}
	}
	if len(cells) != len(t.Wanted) {
		return nil, exitcode.BadInput(errors.New("the ticket wants cells that the plan does not have"))
	}
	return cells, nil
}
