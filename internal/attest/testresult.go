package attest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	testresult "github.com/in-toto/attestation/go/predicates/test_result/v0"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/types/known/structpb"
)

// The suites that a test result may be of.
const (
	SuiteValidate = "validate"
	SuiteE2E      = "e2e"
)

// The results that test-result/v0.1 knows.
const (
	Passed = "PASSED"
	Warned = "WARNED"
	Failed = "FAILED"
)

// TestResult is one run of a suite over one image, as test-result/v0.1 states
// it. What that predicate has no field for stands in the annotations of its
// configuration, so that any reader of the predicate understands the rest.
type TestResult struct {
	Suite  string
	Result string
	// Tests by how they ended. NotRun were skipped, pending or blocked by the
	// failure of another; tests that were not selected are in none.
	Passed, Warned, Failed, NotRun []string

	ReportSHA256 string    // of the report that the suite wrote
	Finished     time.Time // when the suite ended
	Tool         string    // version of the program that ran the suite

	Profile       string // what the image was judged against, "" if nothing
	ProfileSHA256 string

	// Of the booted suite alone.
	Soak         time.Duration // how long the cluster was watched; 0 if no such spec passed
	Accelerators []string      // kvm, tcg
	StandIns     []string      // what was not the real thing
	Filter       string        // the label filter; "" if all specs were to run
	Unchanged    bool          // the image's digest was the same at the end
	Causes       []string      // named causes that the suite is certain of

	// Cell is the ID of the matrix cell that the image was judged as, "" for
	// none; see package matrix.
	Cell string

	Node Node
}

// Node is what the image is made of, as far as versions go.
type Node struct {
	OS     string            // ID and VERSION_ID of os-release: debian-13
	Kernel string            // 6.12.48+deb13-amd64
	Arch   string            // amd64
	Pins   map[string]string // pinned components' versions by name
}

// Names of the descriptors in the configuration of a test result.
const (
	configReport  = "report"
	configTool    = "nodeimage"
	configProfile = "profile"
	configNode    = "node"
	configCell    = "cell"
	configPin     = "pin/"
)

// Statement states the result about an image, signed at a time.
func (t TestResult) Statement(s Subject, at time.Time) (*intoto.Statement, error) {
	report := map[string]any{
		"suite": t.Suite, "finishedOn": t.Finished.UTC().Format(time.RFC3339),
		"notRun": anys(t.NotRun), "standIns": anys(t.StandIns),
	}
	if t.Suite == SuiteE2E {
		report["soak"], report["accelerators"] = t.Soak.String(), anys(t.Accelerators)
		report["labelFilter"], report["imageUnchanged"] = t.Filter, t.Unchanged
		report["causes"] = anys(t.Causes)
	}
	var problems []error
	describe := func(name string, digest string, notes map[string]any) *intoto.ResourceDescriptor {
		annotations, err := structpb.NewStruct(notes)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
		d := &intoto.ResourceDescriptor{Name: name, Annotations: annotations}
		if digest != "" {
			d.Digest = map[string]string{"sha256": digest}
		}
		return d
	}
	p := &testresult.TestResult{
		Result: t.Result, PassedTests: t.Passed, WarnedTests: t.Warned, FailedTests: t.Failed,
		Configuration: []*intoto.ResourceDescriptor{
			describe(configReport, t.ReportSHA256, report),
			describe(configTool, "", map[string]any{"version": t.Tool}),
			describe(configNode, "", map[string]any{"os": t.Node.OS, "kernel": t.Node.Kernel, "arch": t.Node.Arch}),
		},
	}
	if t.ProfileSHA256 != "" {
		p.Configuration = append(p.Configuration, describe(configProfile, t.ProfileSHA256, map[string]any{"name": t.Profile}))
	}
	if t.Cell != "" {
		p.Configuration = append(p.Configuration, describe(configCell, t.Cell, map[string]any{}))
	}
	for _, name := range slices.Sorted(maps.Keys(t.Node.Pins)) {
		p.Configuration = append(p.Configuration, describe(configPin+name, "", map[string]any{"version": t.Node.Pins[name]}))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("test result of %s: %w", t.Suite, err)
	}
	predicate, err := marshal(p)
	if err != nil {
		return nil, err
	}
	return NewStatement(s, TypeTestResult, predicate, at)
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// ReadTestResult reads the predicate of a statement. What contradicts itself
// is an error: a pass with a failed test, a pass in which nothing passed, one
// test in two lists.
func ReadTestResult(s *intoto.Statement) (TestResult, error) {
	var p testresult.TestResult
	if err := predicateInto(s, &p); err != nil {
		return TestResult{}, fmt.Errorf("its predicate is no test result: %w", err)
	}
	t := TestResult{Result: p.GetResult(), Passed: p.GetPassedTests(), Warned: p.GetWarnedTests(), Failed: p.GetFailedTests()}
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	seen := map[string]bool{}
	for i, d := range p.GetConfiguration() {
		name := d.GetName()
		if seen[name] {
			bad("configuration %d: %.100q is there twice", i+1, name)
			continue
		}
		seen[name] = true
		digest := d.GetDigest()["sha256"]
		notes, err := json.Marshal(d.GetAnnotations().AsMap())
		if err != nil {
			bad("configuration %.100q: %w", name, err)
			continue
		}
		var a annotations
		if err := json.Unmarshal(notes, &a); err != nil {
			bad("configuration %.100q: %w", name, err)
			continue
		}
		switch {
		case name == configReport:
			t.ReportSHA256 = digest
			problems = append(problems, t.take(a)...)
		case name == configTool:
			t.Tool = a.Version
		case name == configProfile:
			t.Profile, t.ProfileSHA256 = a.Name, digest
		case name == configCell:
			t.Cell = digest
		case name == configNode:
			t.Node.OS, t.Node.Kernel, t.Node.Arch = a.OS, a.Kernel, a.Arch
		case strings.HasPrefix(name, configPin):
			if t.Node.Pins == nil {
				t.Node.Pins = map[string]string{}
			}
			t.Node.Pins[strings.TrimPrefix(name, configPin)] = a.Version
		}
	}
	if !seen[configReport] {
		bad("configuration: %q is missing, which says which suite ran", configReport)
	}
	for _, problem := range t.contradictions() {
		bad("%s", problem)
	}
	return t, errors.Join(problems...)
}

// annotations are those of all descriptors in the configuration.
type annotations struct {
	Version, Name, OS, Kernel, Arch string

	Suite        string    `json:"suite"`
	FinishedOn   time.Time `json:"finishedOn"`
	NotRun       []string  `json:"notRun"`
	StandIns     *[]string `json:"standIns"`
	Soak         string    `json:"soak"`
	Accelerators []string  `json:"accelerators"`
	LabelFilter  string    `json:"labelFilter"`
	Unchanged    bool      `json:"imageUnchanged"`
	Causes       []string  `json:"causes"`
}

// take fills in what the report's descriptor says.
func (t *TestResult) take(a annotations) (problems []error) {
	t.Suite, t.Finished, t.NotRun, t.Accelerators = a.Suite, a.FinishedOn, a.NotRun, a.Accelerators
	t.Filter, t.Unchanged, t.Causes = a.LabelFilter, a.Unchanged, a.Causes
	if t.Suite != SuiteValidate && t.Suite != SuiteE2E {
		problems = append(problems, fmt.Errorf("suite %.100q: expected %s or %s", t.Suite, SuiteValidate, SuiteE2E))
	}
	if t.Finished.IsZero() {
		problems = append(problems, errors.New("it does not say when the suite ended (finishedOn)"))
	}
	// A statement that does not say must not pass for one of a real run.
	if a.StandIns == nil {
		problems = append(problems, errors.New("it does not say whether anything stood in for the real thing (standIns)"))
	} else {
		t.StandIns = *a.StandIns
	}
	if a.Soak != "" {
		var err error
		if t.Soak, err = time.ParseDuration(a.Soak); err != nil {
			problems = append(problems, fmt.Errorf("soak %.100q: expected a duration as 5m0s", a.Soak))
		}
	}
	return problems
}

// contradictions lists what cannot all be true.
func (t TestResult) contradictions() []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	where := map[string]string{}
	for _, list := range []struct {
		name  string
		tests []string
	}{{"passed", t.Passed}, {"warned", t.Warned}, {"failed", t.Failed}, {"not run", t.NotRun}} {
		for _, test := range list.tests {
			if before, twice := where[test]; twice {
				bad("test %.200q is listed as %s and as %s", test, before, list.name)
			}
			if test == "" {
				bad("a test that is listed as %s has no name", list.name)
			}
			where[test] = list.name
		}
	}
	switch t.Result {
	case Passed, Warned:
		if len(t.Failed) > 0 {
			bad("result is %s and %d tests failed", t.Result, len(t.Failed))
		}
		if len(t.Passed)+len(t.Warned) == 0 {
			bad("result is %s and no test ran", t.Result)
		}
		if t.Result == Passed && len(t.Warned) > 0 {
			bad("result is PASSED and %d tests warned", len(t.Warned))
		}
	case Failed:
	default:
		bad("result is %.100q: expected %s, %s or %s", t.Result, Passed, Warned, Failed)
	}
	return out
}
