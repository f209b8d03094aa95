package validate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/version"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/live"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// Run runs the whole catalogue over an open target.
//
// profile may be nil; with one, the target must also be what the profile asks
// for. policy may be nil. If the target is "/", what only the running system
// knows is looked at too.
//
// The report is a verdict on the target; its Err carries the exit code. An
// error of Run itself means that there is no verdict: it carries exit code 2
// if the target is damaged, 75 if this host could not read it.
func Run(ctx context.Context, t *target.Target, profile *profiles.Profile, policy *Policy) (Report, error) {
	start := time.Now()
	node, err := NewNode(t, profile)
	if err != nil {
		return Report{}, err
	}
	report, err := judge(ctx, node, Catalogue(), policy)
	if err != nil {
		return Report{}, fmt.Errorf("looking into %s: %w", t.Path(), err)
	}
	report.Target, report.Tool, report.Started = t.Path(), version.String(), start.UTC()
	if profile != nil {
		report.Profile, report.ProfileSHA256 = profile.Name, profile.Hash()
	}
	report.Elapsed = time.Since(start)
	return report, nil
}

// NewNode prepares a target for checks. It reads the rules, and the running
// system if the target is "/"; everything else is read when a check asks.
func NewNode(t *target.Target, profile *profiles.Profile) (*Node, error) {
	rules, err := LoadRules()
	if err != nil {
		return nil, err
	}
	compat, err := profiles.LoadCompatibility()
	if err != nil {
		return nil, err
	}
	n := &Node{Root: t.Root(), Profile: profile, now: time.Now(), rules: rules, compat: compat}
	switch esp, err := t.ESP(); {
	case err == nil:
		n.ESP = esp
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("opening target %s: %w", t.Path(), err)
	}
	if running(t) {
		n.Live = live.Here()
	}
	return n, nil
}

// running tells whether the target is the root of the running system.
func running(t *target.Target) bool {
	if t.Kind() != target.Directory {
		return false
	}
	p, err := filepath.Abs(t.Path())
	if err != nil {
		return false
	}
	if r, err := filepath.EvalSymlinks(p); err == nil {
		p = r
	}
	return p == "/"
}

// judge runs checks and puts the verdict together.
func judge(ctx context.Context, n *Node, checks []Check, policy *Policy) (Report, error) {
	results := make([][]Finding, len(checks))
	errs := make([]error, len(checks))
	work := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(checks)) {
		wg.Go(func() {
			for i := range work {
				results[i], errs[i] = runOne(ctx, n, checks[i], policy)
			}
		})
	}
	// The walk over all files takes longest, and is first asked for near the
	// end of the catalogue: so begin there.
	for i := len(checks) - 1; i >= 0; i-- {
		work <- i
	}
	close(work)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return Report{}, exitcode.Transient(err)
	}
	if err := errors.Join(errs...); err != nil {
		return Report{}, err
	}
	report := Report{Verdict: Passed, checks: checks}
	for _, found := range results {
		report.Findings = append(report.Findings, found...)
	}
	for _, f := range report.Findings {
		if f.Outcome == Skip && f.untold && report.Verdict == Passed {
			report.Verdict = Unknown
		}
		if f.Outcome == Fail {
			report.Verdict = Failed
		}
	}
	return report, nil
}

// runOne runs one check and gives its findings their outcome.
func runOne(ctx context.Context, n *Node, c Check, policy *Policy) ([]Finding, error) {
	if ctx.Err() != nil {
		return nil, nil // judge reports it once
	}
	override := policy.of(c.ID)
	if override != nil && override.Severity == Ignore {
		return []Finding{c.skip("ignored by the policy until " + override.Expires.String() + ": " + override.Reason)}, nil
	}
	if c.AppliesTo != nil {
		reason, err := c.AppliesTo(n)
		if reason != "" && err == nil {
			return []Finding{c.skip(reason)}, nil
		}
		if err != nil {
			return c.notTold(err)
		}
	}
	found, err := c.Run(ctx, n)
	if err != nil {
		return c.notTold(err)
	}
	if len(found) == 0 {
		return []Finding{{ID: c.ID, Outcome: Pass, Severity: c.Severity, See: c.URLs()}}, nil
	}
	for i := range found {
		f := &found[i]
		f.ID = c.ID
		if f.Severity == "" {
			f.Severity = c.Severity
		}
		if override != nil {
			f.Severity, f.policy = override.Severity, override
		}
		f.Outcome = Fail
		if f.Severity == Warning {
			f.Outcome = Warn
		}
		if f.Fix == "" {
			f.Fix = c.Fix
		}
		if f.See == nil {
			f.See = c.URLs()
		}
	}
	return found, nil
}

func (c Check) skip(reason string) Finding {
	return Finding{ID: c.ID, Outcome: Skip, Severity: c.Severity, Got: reason, See: c.URLs()}
}

// notTold turns what kept a check from its answer into a skip, where that is
// no fault of the target, and into an error otherwise.
func (c Check) notTold(err error) ([]Finding, error) {
	if errors.Is(err, errAbsent) {
		return []Finding{c.skip(reasonOf(err))}, nil
	}
	// Links in a loop, or a file where a directory belongs, do not go away
	// when one tries again.
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG) {
		err = exitcode.BadInput(err)
	}
	if exitcode.Of(err) == exitcode.Usage {
		return nil, fmt.Errorf("check %s: %w", c.ID, err)
	}
	f := c.skip("could not be told: " + err.Error())
	if errors.Is(err, fs.ErrPermission) {
		f.Got = "could not be told for lack of rights: " + err.Error() + "; run it as root"
	}
	f.untold = true
	return []Finding{f}, nil
}
