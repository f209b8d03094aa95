package executor

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

// Report says what carrying out a plan did.
type Report struct {
	Plan  string   `json:"plan"`
	Steps []Result `json:"steps"`
}

// Result is one step's outcome.
type Result struct {
	What    string `json:"what"`
	Why     string `json:"why"`
	Changed bool   `json:"changed"`
}

// Changed counts the steps that changed something.
func (r Report) Changed() int {
	n := 0
	for _, s := range r.Steps {
		if s.Changed {
			n++
		}
	}
	return n
}

// Carry carries the plan out in order. It returns what was done so far also
// with an error, which names the plan, the step, why the step is there and
// what the machine said. An invalid or unresolved plan is bad input, and the
// machine is not touched.
func (t *Target) Carry(ctx context.Context, p plan.Plan) (Report, error) {
	c := &carrier{target: t, plan: p, report: Report{Plan: p.Name, Steps: make([]Result, len(p.Steps))}}
	if err := p.Validate(); err != nil {
		return c.report, exitcode.BadInput(err)
	}
	if missing := p.Unresolved(); len(missing) > 0 {
		return c.report, exitcode.BadInput(fmt.Errorf("plan %q was made without its components: %s", p.Name, strings.Join(missing, ", ")))
	}
	for i, s := range p.Steps {
		c.report.Steps[i] = Result{What: s.What(), Why: s.Why}
	}
	err := c.steps(ctx)
	if c.stage != nil {
		err = errors.Join(err, c.stage.remove(ctx))
	}
	if err == nil && c.reload {
		err = t.reload(ctx)
	}
	if err == nil {
		err = c.static(ctx, c.last())
	}
	return c.report, err
}

type carrier struct {
	target *Target
	plan   plan.Plan
	report Report
	stage  *stage // made at the first upload
	reload bool   // unit files or their links changed
}

// steps carries out runs of files, links, directories, units and removals
// together, and each command by itself.
func (c *carrier) steps(ctx context.Context) error {
	var pending []int
	for i, s := range c.plan.Steps {
		if s.Last {
			break
		}
		if s.Command == nil {
			pending = append(pending, i)
			continue
		}
		if err := c.static(ctx, pending); err != nil {
			return err
		}
		pending = nil
		if err := c.command(ctx, i); err != nil {
			return c.at(i, err)
		}
	}
	return c.static(ctx, pending)
}

// last are the steps after which the login may have no rights.
func (c *carrier) last() (order []int) {
	for i, s := range c.plan.Steps {
		if s.Last {
			order = append(order, i)
		}
	}
	return order
}

// at says where in the plan err belongs.
func (c *carrier) at(i int, err error) error {
	s := c.plan.Steps[i]
	return fmt.Errorf("plan %q, step %d: %s (%s): %w", c.plan.Name, i+1, s.What(), s.Why, err)
}

func (c *carrier) openStage(ctx context.Context) error {
	if c.stage != nil {
		return nil
	}
	s, err := c.target.newStage(ctx)
	c.stage = s
	return err
}

func (c *carrier) static(ctx context.Context, order []int) error {
	if len(order) == 0 {
		return nil
	}
	steps, uploads := map[int]plan.Step{}, map[int]upload{}
	for _, i := range order {
		steps[i] = c.plan.Steps[i]
		if f := steps[i].File; f != nil {
			u, err := newUpload(strconv.Itoa(i), *f)
			if err != nil {
				return c.at(i, err)
			}
			uploads[i] = u
		}
	}
	states, err := c.target.probe(ctx, steps, order, uploads, false)
	if err != nil {
		return fmt.Errorf("plan %q: %w", c.plan.Name, err)
	}
	var todo []int
	var send []upload
	for _, i := range order {
		ok, err := c.target.satisfied(steps[i], states[i], uploads[i].sha256)
		if err != nil {
			return c.at(i, err)
		}
		if ok {
			continue
		}
		todo = append(todo, i)
		if u, isFile := uploads[i]; isFile {
			send = append(send, u)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	if len(send) > 0 {
		if err := c.openStage(ctx); err != nil {
			return fmt.Errorf("plan %q: %w", c.plan.Name, err)
		}
		if err := c.stage.send(ctx, send); err != nil {
			return fmt.Errorf("plan %q: %w", c.plan.Name, err)
		}
	}
	if err := c.apply(ctx, todo); err != nil {
		return err
	}
	if c.plan.Steps[todo[0]].Last {
		return nil // nobody can be asked any more; del has looked
	}
	return c.confirm(ctx, steps, todo, uploads)
}

// confirm looks again at what was changed: systemctl says success for a unit
// without an [Install] section, and a later step may undo an earlier one.
func (c *carrier) confirm(ctx context.Context, steps map[int]plan.Step, todo []int, uploads map[int]upload) error {
	states, err := c.target.probe(ctx, steps, todo, uploads, true)
	if err != nil {
		return fmt.Errorf("plan %q: %w", c.plan.Name, err)
	}
	for _, i := range todo {
		ok, err := c.target.satisfied(steps[i], states[i], uploads[i].sha256)
		if err != nil {
			return c.at(i, err)
		}
		if !ok {
			return c.at(i, fmt.Errorf("it was carried out, but the machine still says %q%s", states[i].kind, hint(steps[i], states[i])))
		}
	}
	return nil
}

func hint(s plan.Step, st state) string {
	if s.Unit == nil {
		return ""
	}
	switch st.kind {
	case "static", "indirect", "generated":
		return ": the unit has no [Install] section of its own; let another unit want it"
	case "not-found", "":
		return ": there is no such unit; is its package in the profile?"
	}
	return ""
}

// applyFunctions change one thing each. A file is first moved beside its place
// and then renamed, so that nobody ever sees half of it.
const applyFunctions = `set -eu
step=0; trap 'rc=$?; [ $rc = 0 ] || echo "nodeimage: step $step failed" >&2' EXIT
put() { step=$1; mkdir -p -- "${4%/*}/"; chown $owner -- "$2"; chmod "$3" -- "$2"
  mv -fT -- "$2" "$4.nodeimage-new"; mv -fT -- "$4.nodeimage-new" "$4"; }
dir() { step=$1; mkdir -p -- "$3"; chown $owner -- "$3"; chmod "$2" -- "$3"; }
lnk() { step=$1; mkdir -p -- "${3%/*}/"; ln -sfT -- "$2" "$3.nodeimage-new"; mv -fT -- "$3.nodeimage-new" "$3"; }
unit() { step=$1; shift; systemctl --root=/ --quiet "$@"; }
there() { [ -L "$1" ] || [ -e "$1" ]; }
del() { step=$1; shift; for p do if there "$p"; then rm -rf -- "$p"; if there "$p"; then echo "$p is still there" >&2; exit 1; fi; fi; done; }
`

func (c *carrier) apply(ctx context.Context, todo []int) error {
	var lines []string
	for at := 0; at < len(todo); at++ {
		line := c.applyLine(todo[at])
		// Units that get the same state one after the other get it together:
		// systemctl is slow to start.
		for c.sameState(todo, at) {
			at++
			line += " " + run.Quote([]string{c.plan.Steps[todo[at]].Unit.Name})
		}
		lines = append(lines, line)
	}
	for _, script := range scripts("owner="+c.target.owner+"\n"+applyFunctions, lines) {
		res, err := c.target.rootShell(ctx, script, run.Cmd{Argv: []string{"sh", "-c", "<changes of the plan>"}})
		if err != nil {
			if i, ok := failedStep(res.Stderr, len(c.plan.Steps)); ok {
				return c.at(i, err)
			}
			return fmt.Errorf("plan %q: %w", c.plan.Name, err)
		}
	}
	for _, i := range todo {
		c.report.Steps[i].Changed = true
		c.noteUnits(c.plan.Steps[i])
	}
	return nil
}

// sameState tells whether what is to do at that place and what is next there are
// units that get the same state.
func (c *carrier) sameState(todo []int, at int) bool {
	if at+1 >= len(todo) {
		return false
	}
	this, next := c.plan.Steps[todo[at]].Unit, c.plan.Steps[todo[at+1]].Unit
	return this != nil && next != nil && this.State == next.State
}

func (c *carrier) applyLine(i int) string {
	n, s := strconv.Itoa(i+1), c.plan.Steps[i]
	switch {
	case s.File != nil:
		return run.Quote([]string{"put", n, path.Join(c.stage.dir, strconv.Itoa(i)), fmt.Sprintf("%04o", s.File.Mode), s.File.Path})
	case s.Directory != nil:
		return run.Quote([]string{"dir", n, fmt.Sprintf("%04o", s.Directory.Mode), s.Directory.Path})
	case s.Link != nil:
		return run.Quote([]string{"lnk", n, s.Link.Target, s.Link.Path})
	case s.Unit != nil:
		verb := map[plan.UnitState]string{plan.UnitEnabled: "enable", plan.UnitDisabled: "disable", plan.UnitMasked: "mask"}[s.Unit.State]
		return run.Quote([]string{"unit", n, verb, s.Unit.Name})
	}
	return "del " + n + " " + globs(s.Remove.Paths)
}

func failedStep(stderr string, steps int) (int, bool) {
	for line := range strings.Lines(stderr) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "nodeimage: step "); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(rest, " failed"))
			if err == nil && n >= 1 && n <= steps {
				return n - 1, true
			}
		}
	}
	return 0, false
}

func (c *carrier) noteUnits(s plan.Step) {
	if s.Unit != nil || s.File != nil && slices.ContainsFunc([]string{"/etc/systemd/", "/usr/lib/systemd/", "/usr/local/lib/systemd/"},
		func(prefix string) bool { return strings.HasPrefix(s.File.Path, prefix) }) {
		c.reload = true
	}
}

// reload tells a running systemd about new unit files. Where none runs, as in
// a chroot, there is nobody to tell.
func (t *Target) reload(ctx context.Context) error {
	if _, err := t.rootShell(ctx, "if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi", run.Cmd{}); err != nil {
		return fmt.Errorf("telling systemd about changed units: %w", err)
	}
	return nil
}

func (c *carrier) command(ctx context.Context, i int) error {
	cmd := c.plan.Steps[i].Command
	if len(cmd.Unless) > 0 {
		_, err := c.target.Run(ctx, run.Cmd{Argv: cmd.Unless, Env: environment(cmd.Env)})
		if err == nil {
			return nil
		}
		var failed *run.Error
		// Only the guard's own "no" starts the command; a lost machine or a
		// cancelled build must not.
		no := errors.As(err, &failed) && failed.Result.ExitCode != 0 && failed.Result.ExitCode != packersdk.CmdDisconnect
		if !no || ctx.Err() != nil {
			return fmt.Errorf("its guard: %w", err)
		}
	}
	env := environment(cmd.Env)
	if len(cmd.Stage) > 0 {
		if err := c.openStage(ctx); err != nil {
			return err
		}
		uploads := make([]upload, len(cmd.Stage))
		for at, f := range cmd.Stage {
			u, err := newUpload(f.Path, f)
			if err != nil {
				return err
			}
			uploads[at] = u
		}
		if err := c.stage.send(ctx, uploads); err != nil {
			return err
		}
		env = append(env, plan.StageVariable+"="+c.stage.dir)
	}
	c.target.progress("running %s (%s)", strings.TrimPrefix(c.plan.Steps[i].What(), "run "), c.plan.Steps[i].Why)
	if _, err := c.target.Run(ctx, run.Cmd{Argv: cmd.Argv, Env: env}); err != nil {
		return err
	}
	if len(cmd.Stage) > 0 {
		err := c.stage.remove(ctx) // large files must not wait for the end of the plan
		c.stage = nil
		if err != nil {
			return err
		}
	}
	// A command without a guard is told to be idempotent: what it changed,
	// if anything, nobody can know.
	c.report.Steps[i].Changed = len(cmd.Unless) > 0
	return nil
}

func environment(env map[string]string) []string {
	var out []string
	for key, value := range env {
		out = append(out, key+"="+value)
	}
	slices.Sort(out)
	return out
}
