package matrix

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// ReuseOptions says whose signed verdicts make a run unnecessary.
type ReuseOptions struct {
	// Dir is a folder of bundles, or a folder of results, whose cells' bundles
	// count.
	Dir  string
	Keys []attest.PublicKey
	// MaxAge is how long ago a suite may have ended; 0 for any time. What the
	// verdict depends on is in the ID, so age says something about the world
	// around it alone.
	MaxAge time.Duration
	Now    time.Time
}

// stated is a verified result about a cell.
type stated struct {
	attest.TestResult
	attested Attested
}

// Reuse marks the cells of a plan whose IDs have valid signed verdicts that are
// as expected: of every stage of the suite about one image, or for a cell that
// is known to be bad of its stage, with its cause. The latest result of a stage
// counts. Bundles that no key signed, or that are not clear, are counted as left
// out.
func (p *Plan) Reuse(ctx context.Context, o ReuseOptions) (leftOut int, err error) {
	if len(o.Keys) == 0 {
		return 0, exitcode.BadInput(errors.New("attestations count only with a public key that may have signed them: give --key"))
	}
	planned := map[string]bool{}
	for _, c := range p.Cells {
		planned[c.ID] = true
	}
	results := map[string]map[Stage]stated{}
	err = o.eachBundle(ctx, func(b attest.Stored) error {
		if b.Err == nil && b.Claim.Type != attest.TypeTestResult {
			return nil
		}
		s, err := o.read(ctx, b)
		if err != nil {
			leftOut++
			return nil
		}
		if !planned[s.Cell] || o.MaxAge > 0 && s.Finished.Before(o.Now.Add(-o.MaxAge)) {
			return nil
		}
		if results[s.Cell] == nil {
			results[s.Cell] = map[Stage]stated{}
		}
		stage := Stage(s.Suite)
		if before, ok := results[s.Cell][stage]; !ok || s.Finished.After(before.Finished) {
			results[s.Cell][stage] = s
		}
		return nil
	})
	if err != nil {
		return leftOut, err
	}
	for i := range p.Cells {
		p.Cells[i].Attested = p.Cells[i].settled(results[p.Cells[i].ID])
	}
	return leftOut, nil
}

// eachBundle calls f for the bundles of the folder, and then for those of each
// cell in it.
func (o ReuseOptions) eachBundle(ctx context.Context, f func(attest.Stored) error) error {
	if err := attest.EachBundle(ctx, o.Dir, f); err != nil {
		return err
	}
	cells, err := os.ReadDir(filepath.Join(o.Dir, CellsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the attestations: %w", err)
	}
	for _, cell := range cells {
		dir := filepath.Join(o.Dir, CellsDir, cell.Name(), AttestationsDir)
		if err := attest.EachBundle(ctx, dir, f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (o ReuseOptions) read(ctx context.Context, b attest.Stored) (stated, error) {
	if b.Err != nil {
		return stated{}, b.Err
	}
	key, err := b.Bundle.Verify(ctx, o.Keys)
	if err != nil {
		return stated{}, err
	}
	t, err := attest.ReadTestResult(b.Bundle.Statement())
	switch {
	case err != nil:
		return stated{}, err
	case len(b.Claim.Problems) > 0:
		return stated{}, errors.New(b.Claim.Problems[0])
	case b.Claim.Attested.After(o.Now.Add(attest.MaxSkew)) || t.Finished.After(b.Claim.Attested.Add(attest.MaxSkew)):
		return stated{}, errors.New("it is from the future")
	case len(t.StandIns) > 0:
		return stated{}, errors.New("it is not of the real thing")
	}
	verdict := Passed
	if t.Result == attest.Failed {
		verdict = Failed
	}
	return stated{t, Attested{File: b.File, SHA256: b.SHA256, Image: b.Claim.Subjects[0].SHA256, Key: key.Fingerprint(), Verdict: verdict}}, nil
}

// settled returns what is stated about a cell if that is all that its run
// could say, else nil.
func (c Cell) settled(results map[Stage]stated) *Attested {
	if c.KnownBad != nil {
		s, ok := results[c.KnownBad.Stage]
		named := s.Causes
		if c.KnownBad.Stage == StageValidate {
			named = s.Failed
		}
		if !ok || s.attested.Verdict != Failed || !slices.Contains(named, c.KnownBad.Cause) {
			return nil
		}
		return &s.attested
	}
	var last *Attested
	for _, stage := range c.Suite.Stages {
		s, ok := results[stage]
		if !ok || s.attested.Verdict != Passed || last != nil && last.Image != s.attested.Image {
			return nil
		}
		last = &s.attested
	}
	return last
}
