package booted

import (
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/cause"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/child"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/faults"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/workload"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

const denied = `apparmor="DENIED" operation="signal" peer="runc"`

func redFault() faults.Fault {
	return faults.Fault{ID: "b1", Expect: faults.Red, Change: faults.Change{Files: []faults.File{{Path: "/etc/fstab", Append: "x"}}},
		Caught: faults.Caught{E2E: faults.E2E{Specs: []string{"ends a pod"}, Labels: "termination", Cause: "apparmor-runc-signal-denied", Evidence: `peer="runc"`,
			Witness: faults.Witness{Specs: []string{"never fails"}, Evidence: "permission denied"}}}}
}

func greenFault() faults.Fault {
	f := redFault()
	f.ID, f.Expect, f.Caught.E2E = "b2", faults.Green, faults.E2E{Specs: []string{"ends a pod"}}
	return f
}

func spec(name, state string) e2e.Spec { return e2e.Spec{Name: "node image " + name, State: state} }

func named1(id string, c cause.Confidence, text string) e2e.Cause {
	return e2e.Cause{ID: id, Confidence: c.String(), Evidence: cause.Line{Source: cause.Kernel, Text: text}}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	b := named1("apparmor-runc-signal-denied", cause.Certain, denied)
	failed := e2e.Result{Verdict: e2e.Failed, Specs: []e2e.Spec{spec("ends a pod that", "timedout")}, Causes: []e2e.Cause{b}, Seconds: 300,
		Measured: map[string]float64{e2e.FirstFailure: 200, e2e.InitReturned: 150}}
	with := func(change func(*e2e.Result)) e2e.Result {
		r := failed
		change(&r)
		return r
	}
	passed := e2e.Result{Verdict: e2e.Passed, Specs: []e2e.Spec{spec("ends a pod that", "passed")}, Seconds: 300}
	for name, tt := range map[string]struct {
		fault   faults.Fault
		got     e2e.Result
		witness bool
		lines   []cause.Line
		want    string
	}{
		"caught":        {redFault(), failed, false, nil, ""},
		"called good":   {redFault(), passed, false, nil, "the fault is not caught"},
		"another spec":  {redFault(), with(func(r *e2e.Result) { r.Specs = []e2e.Spec{spec("boots", "failed")} }), false, nil, "no spec with \"ends a pod\" in its name failed"},
		"no cause":      {redFault(), with(func(r *e2e.Result) { r.Causes = nil }), false, nil, "it names no cause"},
		"another cause": {redFault(), with(func(r *e2e.Result) { r.Causes = []e2e.Cause{named1("swap-enabled", cause.Certain, "x")} }), false, nil, "it names swap-enabled"},
		"only possible": {redFault(), with(func(r *e2e.Result) { r.Causes = []e2e.Cause{named1(b.ID, cause.Possible, denied)} }), false, nil, "as certain or likely"},
		"outweighed": {redFault(), with(func(r *e2e.Result) {
			r.Causes = []e2e.Cause{named1(b.ID, cause.Likely, denied), named1("swap-enabled", cause.Certain, "x")}
		}), false, nil, "certain of swap-enabled"},
		"other evidence": {redFault(), with(func(r *e2e.Result) { r.Causes = []e2e.Cause{named1(b.ID, cause.Certain, "else")} }), false, nil, "does not match"},
		"witnessed":      {redFault(), failed, true, []cause.Line{{Source: cause.Event, Text: "runc: permission denied"}}, ""},
		"not witnessed":  {redFault(), failed, true, []cause.Line{{Source: cause.Event, Text: "else"}}, "did not show itself"},
		"green":          {greenFault(), passed, false, nil, ""},
		"green is bad":   {greenFault(), failed, false, nil, "calls a good image bad"},
		"green unseen":   {greenFault(), e2e.Result{Verdict: e2e.Passed, Specs: []e2e.Spec{spec("boots", "passed"), spec("ends a pod", "skipped")}}, false, nil, "proves nothing"},
	} {
		r := Judge(tt.fault, tt.got, tt.witness, tt.lines)
		if tt.want == "" && !r.AsDeclared || tt.want != "" && (r.AsDeclared || len(r.Problems) != 1 || !strings.Contains(r.Problems[0], tt.want)) {
			t.Errorf("%s: as declared: %t, problems %q; want %q", name, r.AsDeclared, r.Problems, tt.want)
		}
	}
	r := Judge(redFault(), failed, false, nil)
	if r.Seconds != 200 || r.SinceInit == nil || *r.SinceInit != 50 || r.Cause != b.ID || r.Evidence != denied || r.Got != faults.Red {
		t.Errorf("got %+v", r)
	}
	if r := Judge(redFault(), with(func(r *e2e.Result) { r.Measured[e2e.Witnessed] = 260 }), true, []cause.Line{{Source: cause.Event, Text: "runc: permission denied"}}); r.Witness != "runc: permission denied" || r.WitnessedAt != 260 {
		t.Errorf("witnessed: %+v", r)
	}
	if r := Judge(redFault(), with(func(r *e2e.Result) { r.Measured = map[string]float64{e2e.FirstFailure: 100} }), false, nil); r.SinceInit != nil || r.Seconds != 100 {
		t.Errorf("kubeadm init did not return, and the verdict came %v after it", r.SinceInit)
	}
}

// fixture is a Runner over a directory, whose images are empty files.
func fixture(t *testing.T, suite child.Suite) (Runner, *store.Store) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etc/fstab"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	tg, err := target.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tg.Close() })
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return Runner{Target: tg, Store: s, OutputDir: t.TempDir(), Suite: suite,
		Make: func(_ context.Context, _ *target.Target, c faults.Changes, out string) error {
			if len(c.Root) != 1 || c.Root[0].Path != "/etc/fstab" {
				t.Errorf("changes %+v", c)
			}
			return os.WriteFile(out, nil, 0o600)
		}}, s
}

func TestRunner(t *testing.T) {
	t.Parallel()
	var asked []e2e.Options
	runner, s := fixture(t, func(_ context.Context, o e2e.Options) (e2e.Result, error) {
		asked = append(asked, o)
		if _, err := os.Stat(o.Image); err != nil {
			t.Errorf("the image is not there: %v", err)
		}
		if err := os.MkdirAll(filepath.Join(o.OutputDir, "evidence"), 0o755); err != nil {
			return e2e.Result{}, err
		}
		noted, err := json.Marshal([]cause.Line{{Source: cause.Event, Text: "runc: permission denied"}})
		if err != nil {
			return e2e.Result{}, err
		}
		if err := os.WriteFile(filepath.Join(o.OutputDir, "evidence", "diagnosis-lines.json"), noted, 0o600); err != nil {
			return e2e.Result{}, err
		}
		if strings.Contains(o.Image, "b2") {
			return e2e.Result{Verdict: e2e.Passed, Specs: []e2e.Spec{spec("ends a pod", "passed")}}, nil
		}
		return e2e.Result{Verdict: e2e.Failed, Specs: []e2e.Spec{spec("ends a pod", "failed")}, Causes: []e2e.Cause{named1("apparmor-runc-signal-denied", cause.Certain, denied)}}, nil
	})
	var done []string
	runner.Done = func(r faults.Result) { done = append(done, r.ID) }
	all := []faults.Fault{redFault(), {ID: "offline only"}, greenFault()}
	report, err := runner.Run(t.Context(), all)
	if err != nil || report.Err() != nil {
		t.Fatalf("%v, %v: %+v", err, report.Err(), report.Results)
	}
	if !slices.Equal(done, []string{"b1", "b2"}) {
		t.Errorf("judged %v", done)
	}
	red, green := asked[0], asked[1]
	if !red.FailFast || red.Witness || red.LabelFilter != "termination" || !slices.Equal(red.Specs, []string{"ends a pod"}) || !slices.Equal(red.Firmware, []machine.Firmware{machine.UEFI}) {
		t.Errorf("the red fault runs with %+v", red)
	}
	if green.FailFast || green.OutputDir == red.OutputDir {
		t.Errorf("the green fault runs with %+v", green)
	}
	runner.Witness = true
	if report, err = runner.Run(t.Context(), all[:1]); err != nil || report.Err() != nil {
		t.Errorf("witness: %v, %v", err, report.Err())
	}
	if w := asked[2]; w.FailFast || !w.Witness || !slices.Equal(w.Specs, []string{"ends a pod", "never fails"}) {
		t.Errorf("a witness runs with %+v", w)
	}
	left, err := os.ReadDir(filepath.Join(s.Dir(), "scratch"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the store: %v, %v", left, err)
	}
}

func TestRunnerWithoutVerdict(t *testing.T) {
	t.Parallel()
	runner, s := fixture(t, func(context.Context, e2e.Options) (e2e.Result, error) {
		return e2e.Result{}, exitcode.Transient(errors.New("QEMU did not start"))
	})
	report, err := runner.Run(t.Context(), []faults.Fault{redFault(), greenFault()})
	if len(report.Results) > 0 || !strings.Contains(err.Error(), "fault b2: QEMU") {
		t.Errorf("after the first failure: %+v, %v", report.Results, err)
	}
	if exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(err.Error(), "fault b1: QEMU did not start") {
		t.Errorf("got %v", err)
	}
	left, err := os.ReadDir(filepath.Join(s.Dir(), "scratch"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the store: %v, %v", left, err)
	}
}

// TestSpecsExist sees that every spec that a fault names is one of the suite's.
func TestSpecsExist(t *testing.T) {
	t.Parallel()
	var titles []string
	for _, v := range workload.Variants() {
		titles = append(titles, "ends a pod "+v.Title)
	}
	files, err := filepath.Glob("../../spec_*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no specs: %v", err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			if name, ok := call.Fun.(*ast.Ident); !ok || name.Name != "It" {
				return true
			}
			title := call.Args[0]
			if wrapped, ok := title.(*ast.CallExpr); ok && len(wrapped.Args) == 2 {
				title = wrapped.Args[1] // s.needing(what, title)
			}
			if sum, ok := title.(*ast.BinaryExpr); ok {
				title = sum.X
			}
			if lit, ok := title.(*ast.BasicLit); ok {
				text, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				titles = append(titles, text)
			}
			return true
		})
	}
	if len(titles) < 30 {
		t.Fatalf("found only %d specs", len(titles))
	}
	all, err := faults.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, want := range append(slices.Clone(f.Caught.E2E.Specs), f.Caught.E2E.Witness.Specs...) {
			if !slices.ContainsFunc(titles, func(title string) bool { return strings.Contains(title, want) }) {
				t.Errorf("%s: the suite has no spec with %q in its name", f.ID, want)
			}
		}
	}
}
