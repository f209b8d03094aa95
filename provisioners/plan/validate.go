package plan

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxMode is every bit that chmod(2) takes.
const maxMode = 0o7777

// Validate reports everything that is wrong with the plan, joined into one
// error: a step with none or several actions, a path that is not absolute and
// clean, a path that two steps claim, a command that would run again each time.
func (p Plan) Validate() error {
	v := validator{plan: p.Name, claimed: map[string]int{}}
	if p.Name == "" {
		v.add(-1, "the plan has no name")
	}
	for i, step := range p.Steps {
		v.step(i, step)
		if !step.Last && i > 0 && p.Steps[i-1].Last {
			v.add(i, "it follows a step that is to be the last")
		}
	}
	return errors.Join(v.problems...)
}

// Unresolved returns the component files that a plan made from a profile alone
// still lacks. Such a plan cannot be carried out.
func (p Plan) Unresolved() []string {
	var missing []string
	note := func(f File) {
		if f.Component != "" && f.Source == "" {
			missing = append(missing, f.Component)
		}
	}
	for _, step := range p.Steps {
		if step.File != nil {
			note(*step.File)
		}
		if step.Command != nil {
			for _, f := range step.Command.Stage {
				note(f)
			}
		}
	}
	return missing
}

type validator struct {
	plan     string
	claimed  map[string]int
	problems []error
}

func (v *validator) add(step int, format string, args ...any) {
	where := fmt.Sprintf("plan %q", v.plan)
	if step >= 0 {
		where = fmt.Sprintf("%s: step %d", where, step+1)
	}
	v.problems = append(v.problems, fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...)))
}

func (v *validator) step(i int, s Step) {
	if strings.TrimSpace(s.Why) == "" {
		v.add(i, "it does not say why")
	}
	actions := 0
	for _, set := range []bool{s.File != nil, s.Directory != nil, s.Link != nil, s.Unit != nil, s.Remove != nil, s.Command != nil} {
		if set {
			actions++
		}
	}
	if actions != 1 {
		v.add(i, "it has %d actions, want exactly one of file, directory, link, unit, remove, command", actions)
	}
	if s.Last && s.Remove == nil {
		v.add(i, "it is to be the last and is no removal")
	}
	if s.File != nil {
		v.path(i, s.File.Path)
		v.claim(i, s.File.Path)
		v.file(i, *s.File)
	}
	if s.Directory != nil {
		v.path(i, s.Directory.Path)
		v.claim(i, s.Directory.Path)
		v.mode(i, s.Directory.Path, s.Directory.Mode)
	}
	if s.Link != nil {
		v.path(i, s.Link.Path)
		v.claim(i, s.Link.Path)
		if s.Link.Target == "" || hasControl(s.Link.Target) {
			v.add(i, "link %s: target %q is empty or has control characters", s.Link.Path, s.Link.Target)
		}
	}
	if s.Unit != nil {
		v.unit(i, *s.Unit)
	}
	if s.Remove != nil {
		v.remove(i, *s.Remove)
	}
	if s.Command != nil {
		v.command(i, *s.Command)
	}
}

func (v *validator) path(i int, p string) {
	switch {
	case !path.IsAbs(p), path.Clean(p) != p, p == "/":
		v.add(i, "path %q must be absolute, clean and below /", p)
	case hasControl(p):
		v.add(i, "path %q has control characters", p)
	}
}

func (v *validator) claim(i int, p string) {
	if first, taken := v.claimed[p]; taken {
		v.add(i, "path %s is already set by step %d; carrying the plan out twice would change it twice", p, first+1)
		return
	}
	v.claimed[p] = i
}

func (v *validator) mode(i int, p string, mode Mode) {
	if mode == 0 || mode > maxMode {
		v.add(i, "%s: mode %#o is not between 1 and %#o", p, mode, maxMode)
	}
}

func (v *validator) file(i int, f File) {
	v.mode(i, f.Path, f.Mode)
	if f.Content != "" && (f.Component != "" || f.Source != "") {
		v.add(i, "file %s has both content and a component", f.Path)
	}
	if f.Source != "" && f.Component == "" {
		v.add(i, "file %s has a source but does not say which component it is", f.Path)
	}
	// A staged file's sum is taken when it is sent: its command names what
	// it holds, and it leaves nothing behind.
	staged := path.Base(f.Path) == f.Path && f.SHA256 == ""
	if sum, err := hex.DecodeString(f.SHA256); f.Source != "" && !staged && (err != nil || len(sum) != 32) {
		v.add(i, "file %s: sha256 %q is not 64 hexadecimal digits", f.Path, f.SHA256)
	}
}

// unitName is systemd's own character set for unit names, with a type suffix.
var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]+\.(service|socket|timer|target|path|mount|automount|swap|slice|scope|device)$`)

func (v *validator) unit(i int, u Unit) {
	if !unitName.MatchString(u.Name) {
		v.add(i, "unit %q is not a unit name with its type, such as kubelet.service", u.Name)
	}
	if !slices.Contains([]UnitState{UnitEnabled, UnitDisabled, UnitMasked}, u.State) {
		v.add(i, "unit %s: state %q is none of enabled, disabled, masked", u.Name, u.State)
	}
	v.claim(i, "unit "+u.Name)
}

func (v *validator) remove(i int, r Remove) {
	if len(r.Paths) == 0 {
		v.add(i, "it removes no path")
	}
	for _, p := range r.Paths {
		v.path(i, p)
		dir, last := path.Split(p)
		if strings.ContainsAny(dir, "*?[") {
			v.add(i, "path %q has a glob before its last element", p)
		}
		if dir == "/" && strings.ContainsAny(last, "*?[") {
			v.add(i, "path %q would remove top-level directories", p)
		}
	}
}

func (v *validator) command(i int, c Command) {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		v.add(i, "the command is empty")
	}
	if len(c.Unless) == 0 && !c.Idempotent {
		v.add(i, "command %s is neither guarded by unless nor declared idempotent", strings.Join(c.Argv[:min(1, len(c.Argv))], ""))
	}
	for key := range c.Env {
		if !envName.MatchString(key) {
			v.add(i, "environment variable %q is not a name", key)
		}
	}
	seen := map[string]bool{}
	for _, f := range c.Stage {
		if f.Path == "" || path.Base(f.Path) != f.Path || strings.HasPrefix(f.Path, ".") || hasControl(f.Path) || seen[f.Path] {
			v.add(i, "staged file %q must be a base name of its own", f.Path)
		}
		seen[f.Path] = true
		v.file(i, f)
	}
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}
