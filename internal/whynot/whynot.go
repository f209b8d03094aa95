// Package whynot answers whether versions go together, from the rules that
// this program was built with and from signed evidence, and says of each
// answer which of the two it comes from.
package whynot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/attest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
)

// Question is a combination. Versions are releases (1.37.2) or branches (1.37);
// what is empty is not asked about.
type Question struct {
	Kubernetes string `json:"kubernetes,omitempty"`
	Containerd string `json:"containerd,omitempty"`
	Runc       string `json:"runc,omitempty"`
	Kernel     string `json:"kernel,omitempty"`
	OS         string `json:"os,omitempty"` // ID-VERSION_ID of os-release: ubuntu-24.04
}

// Weight is what an answer means for the combination.
type Weight string

// The weights, worst first.
const (
	No      Weight = "no"      // does not work, or is not known to
	Careful Weight = "careful" // works under a condition
	Unknown Weight = "unknown" // nothing is known
	Fine    Weight = "fine"
)

// Basis is where an answer comes from.
type Basis string

// The bases.
const (
	Rule     Basis = "rule"     // data that this program was built with
	Evidence Basis = "evidence" // a run's signed result
)

// Answer is one thing that is known.
type Answer struct {
	Weight Weight   `json:"weight"`
	Basis  Basis    `json:"basis"`
	ID     string   `json:"id"` // of the rule or check, or the bundle's file
	Text   string   `json:"text"`
	See    []string `json:"see,omitempty"`  // addresses of sources
	Read   string   `json:"read,omitempty"` // when the sources were read, or when the run ended
}

// Reply is all answers, worst first.
type Reply struct {
	Question Question `json:"question"`
	Answers  []Answer `json:"answers"`
}

// Err is nil unless something says that the combination does not work; then
// it carries exit code 1.
func (r Reply) Err() error {
	n := 0
	for _, a := range r.Answers {
		if a.Weight == No {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return exitcode.With(exitcode.Failed, fmt.Errorf("%d answers speak against this combination", n))
}

// WriteText writes the reply for people.
func (r Reply) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, a := range r.Answers {
		fmt.Fprintf(&b, "%-8s %-9s %s: %s\n", strings.ToUpper(string(a.Weight)), a.Basis, a.ID, a.Text)
		for _, s := range a.See {
			fmt.Fprintf(&b, "%18s see %s\n", "", s)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Options says where the answers come from beside the rules.
type Options struct {
	// Dir is a folder of bundles, "" for none.
	Dir string
	// Keys are those whose bundles are believed; without any, evidence is
	// told as unverified.
	Keys []attest.PublicKey
	Now  time.Time
}

var (
	version  = regexp.MustCompile(`^[0-9]{1,4}\.[0-9]{1,4}(\.[0-9]{1,4})?(-[0-9A-Za-z.-]+)?$`)
	kernel   = regexp.MustCompile(`^[0-9]{1,4}\.[0-9]{1,4}([.+~-][0-9A-Za-z.+~-]*)?$`)
	system   = regexp.MustCompile(`^[a-z][a-z0-9]*-[0-9]+(\.[0-9]+)?$`)
	branchOf = regexp.MustCompile(`^[0-9]+\.[0-9]+`)
)

func (q Question) check() error {
	var problems []error
	bad := func(flag, found, want string) {
		problems = append(problems, fmt.Errorf("--%s: found %q, expected %s", flag, found, want))
	}
	for flag, v := range map[string]string{"kubernetes": q.Kubernetes, "containerd": q.Containerd, "runc": q.Runc} {
		if v != "" && !version.MatchString(v) {
			bad(flag, v, "a release as 1.37.2 or a branch as 1.37")
		}
	}
	if q.Kernel != "" && !kernel.MatchString(q.Kernel) {
		bad("kernel", q.Kernel, "a release as 6.12 or 6.12.48+deb13-amd64")
	}
	if q.OS != "" && !system.MatchString(q.OS) {
		bad("os", q.OS, "ID and VERSION_ID of os-release, as ubuntu-24.04")
	}
	if q == (Question{}) {
		problems = append(problems, errors.New("nothing was asked: say at least one of --kubernetes, --containerd, --runc, --kernel and --os"))
	}
	return exitcode.BadInput(errors.Join(problems...))
}

// Ask answers a question.
func Ask(ctx context.Context, q Question, o Options) (Reply, error) {
	if err := q.check(); err != nil {
		return Reply{}, err
	}
	table, err := profiles.LoadCompatibility()
	if err != nil {
		return Reply{}, err
	}
	rules, err := validate.LoadRules()
	if err != nil {
		return Reply{}, err
	}
	a := asker{q: q, table: table, rules: rules, today: profiles.Date(o.Now.UTC().Format(time.DateOnly))}
	a.kubernetes()
	a.containerd()
	a.runc()
	a.faults()
	a.holes()
	a.kernel()
	if err := a.system(); err != nil {
		return Reply{}, err
	}
	if o.Dir != "" {
		if err := a.evidence(ctx, o); err != nil {
			return Reply{}, err
		}
	}
	order := []Weight{No, Careful, Unknown, Fine}
	slices.SortStableFunc(a.answers, func(x, y Answer) int {
		return slices.Index(order, x.Weight) - slices.Index(order, y.Weight)
	})
	return Reply{q, a.answers}, nil
}

// asker collects answers.
type asker struct {
	q       Question
	table   *profiles.Compatibility
	rules   *validate.Rules
	today   profiles.Date
	answers []Answer
}

// tell adds an answer from the compatibility table, with its sources.
func (a *asker) tell(weight Weight, id string, sources []string, format string, args ...any) {
	answer := Answer{Weight: weight, Basis: Rule, ID: id, Text: fmt.Sprintf(format, args...)}
	for _, s := range sources {
		answer.See = append(answer.See, a.table.Sources[s].URL)
		answer.Read = max(answer.Read, string(a.table.Sources[s].Read))
	}
	a.answers = append(a.answers, answer)
}

// tellRule is tell with sources of the validation rules.
func (a *asker) tellRule(weight Weight, id string, sources []string, format string, args ...any) {
	answer := Answer{Weight: weight, Basis: Rule, ID: id, Text: fmt.Sprintf(format, args...)}
	for _, s := range sources {
		answer.See = append(answer.See, a.rules.Sources[s].URL)
		answer.Read = max(answer.Read, a.rules.Sources[s].Read)
	}
	a.answers = append(a.answers, answer)
}

func branch(v string) string { return branchOf.FindString(v) }

// whole tells whether a version is a release rather than a branch.
func whole(v string) bool { return strings.Count(v, ".") >= 2 }

func (a *asker) kubernetes() {
	k := a.q.Kubernetes
	if k == "" {
		return
	}
	minor, known := a.table.Kubernetes[branch(k)]
	if !known {
		a.tell(No, "kubernetes", nil, "nothing is known about Kubernetes %s; the table has %s", branch(k), strings.Join(profiles.Branches(a.table.Kubernetes), ", "))
		return
	}
	if minor.EndOfLife < a.today {
		a.tell(Careful, "kubernetes-end-of-life", []string{"kubernetes-eol"}, "Kubernetes %s has been without fixes since %s", branch(k), string(minor.EndOfLife))
	}
}

func (a *asker) containerd() {
	c := a.q.Containerd
	if c == "" {
		return
	}
	b, known := a.table.Containerd[branch(c)]
	if !known {
		a.tell(No, "containerd", nil, "nothing is known about containerd %s; the table has %s", branch(c), strings.Join(profiles.Branches(a.table.Containerd), ", "))
		return
	}
	if b.EndOfLife < a.today {
		a.tell(Careful, "containerd-end-of-life", b.Sources, "containerd %s has been without fixes since %s", branch(c), string(b.EndOfLife))
	}
	minor, known := a.table.Kubernetes[branch(a.q.Kubernetes)]
	if !known {
		return
	}
	pair, known := minor.Containerd[branch(c)]
	verdict := pair.Verdict
	if whole(c) {
		verdict, known = a.table.Pair(a.q.Kubernetes, c)
	}
	const id = "kubelet-containerd-incompatible"
	what := fmt.Sprintf("containerd %s under Kubernetes %s", c, branch(a.q.Kubernetes))
	switch {
	case !known:
		a.tell(No, id, minor.Sources, "%s is not known to run", what)
	case verdict == profiles.Refused:
		a.tell(No, id, minor.Sources, "%s does not run", what)
	case verdict == profiles.Fallback:
		a.tell(Careful, id, minor.Sources, "%s runs, but the kubelet cannot ask it for the cgroup driver: both must be set to systemd by hand, and from 1.38 on the kubelet will not start", what)
	case verdict == profiles.Works:
		a.tell(Fine, id, minor.Sources, "%s has all that the kubelet asks for; containerd's own table does not list the pair", what)
	default:
		from := ""
		if pair.From != "" {
			from = ", from " + pair.From + " on"
		}
		a.tell(Fine, id, minor.Sources, "%s is in containerd's own table%s", what, from)
	}
}

func (a *asker) runc() {
	want := ""
	if b, known := a.table.Containerd[branch(a.q.Containerd)]; known {
		want = b.Runc
	}
	r := a.q.Runc
	if r == "" {
		if want != "" {
			a.tell(Careful, "runc-older-than-tested", []string{"containerd-runc"}, "containerd %s is tested with runc %s; take that or a newer one", a.q.Containerd, want)
		}
		return
	}
	b, known := a.table.Runc[branch(r)]
	if !known {
		a.tell(No, "runc", nil, "nothing is known about runc %s; the table has %s", branch(r), strings.Join(profiles.Branches(a.table.Runc), ", "))
		return
	}
	branches := profiles.Branches(a.table.Runc)
	if want != "" && slices.Index(branches, branch(r)) < slices.Index(branches, want) {
		a.tell(No, "runc-older-than-tested", []string{"containerd-runc"}, "runc %s is older than %s, which containerd %s is tested with", r, want, a.q.Containerd)
	} else if want != "" {
		a.tell(Fine, "runc-older-than-tested", []string{"containerd-runc"}, "runc %s is what containerd %s is tested with, or newer", r, a.q.Containerd)
	}
	if b.Support == "none" {
		a.tell(Careful, "runc-unsupported", b.Sources, "runc %s gets no fixes any more", branch(r))
	}
}

// version returns what was asked about a program of the rules.
func (a *asker) version(program string) string {
	switch program {
	case "containerd":
		return a.q.Containerd
	case "runc":
		return a.q.Runc
	case "kubelet":
		return a.q.Kubernetes
	}
	return ""
}

// faults tells those of a version alone, or of one on a kernel.
func (a *asker) faults() {
	for _, id := range slices.Sorted(maps.Keys(a.rules.Faults)) {
		f := a.rules.Faults[id]
		v := a.version(f.Program)
		if v == "" {
			continue
		}
		fix := validate.FixedIn(f.Fixed, v)
		ranged := f.Kernel.From != "" || f.Kernel.Before != ""
		if fix.Fixed || ranged && a.q.Kernel != "" && !f.Kernel.Covers(a.q.Kernel) {
			continue
		}
		title := id
		if c, ok := validate.Find(id); ok {
			title = c.Title
		}
		weight, where := Careful, ""
		switch {
		case ranged && a.q.Kernel != "" && (whole(v) || fix.From == ""):
			weight, where = No, " on kernel "+a.q.Kernel
		case ranged:
			where = " on kernels" + kernels(f.Kernel)
		}
		remedy := "; no release of this branch has the fix"
		if fix.From != "" {
			remedy = "; " + f.Program + " " + fix.From + " has the fix"
		}
		a.tellRule(weight, id, f.Sources, "%s %s%s: %s%s", f.Program, v, where, title, remedy)
	}
}

func kernels(k validate.KernelRange) string {
	text := ""
	if k.From != "" {
		text += " from " + k.From + " on"
	}
	if k.Before != "" {
		text += " before " + k.Before
	}
	return text
}

// holes tells the vulnerabilities of each program in one answer.
func (a *asker) holes() {
	for _, program := range []string{"containerd", "runc"} {
		v := a.version(program)
		if v == "" {
			continue
		}
		var open, never []string
		sources := map[string]bool{}
		need := ""
		for _, hole := range a.rules.Vulnerabilities {
			if hole.Program != program || hole.Low || !hole.Affects(v) {
				continue
			}
			for _, s := range hole.Sources {
				sources[s] = true
			}
			fix := validate.FixedIn(hole.Fixed, v)
			if fix.From == "" {
				never = append(never, hole.ID)
				continue
			}
			open = append(open, hole.ID)
			if need == "" || (validate.Floor{Version: need}).AtLeast(fix.From) {
				need = fix.From
			}
		}
		cited := slices.Sorted(maps.Keys(sources))
		if len(never) > 0 {
			a.tellRule(Careful, program+"-vulnerable", cited, "%s %s: this branch never got the fixes of %s", program, v, strings.Join(never, ", "))
		}
		if len(open) > 0 {
			a.tellRule(Careful, program+"-vulnerable", cited, "%s %s: take %s or later, which mends %s", program, v, need, strings.Join(open, ", "))
		}
	}
}

func (a *asker) kernel() {
	if f, ok := a.rules.Floors["kernel"]; ok && a.q.Kernel != "" && !f.AtLeast(a.q.Kernel) {
		a.tellRule(Careful, "kernel-too-old", f.Sources, "kernel %s is older than %s, the oldest that kubeadm's checks know", a.q.Kernel, f.Version)
	}
}

// system tells which built-in profiles are for an operating system.
func (a *asker) system() error {
	if a.q.OS == "" {
		return nil
	}
	found := false
	for _, name := range profiles.Names() {
		p, err := profiles.Load(name)
		if err != nil {
			return err
		}
		if p.OS.Distribution+"-"+p.OS.Version != a.q.OS {
			continue
		}
		found = true
		a.tell(Fine, "profile", nil, "the profile %s is for %s, with Kubernetes %s, containerd %s and runc %s", name, a.q.OS,
			p.Components["kubernetes"].Version, p.Components["containerd"].Version, p.Components["runc"].Version)
	}
	if !found {
		a.tell(Unknown, "profile", nil, "no built-in profile is for %s, and no rule is about it as such; its kernel decides: say --kernel", a.q.OS)
	}
	return nil
}
