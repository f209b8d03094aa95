package gate

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func TestPolicyProblemsAllAtOnce(t *testing.T) {
	t.Parallel()
	text := `apiVersion: nodeimage.dev/v1alpha1
kind: GatePolicies
name: Release
keys:
  - {name: ci, sha256: abc}
maxAge: forever
clockSkew: 2h
require:
  e2e:
    specs: [a, a]
    soaks: 5m
    accelerators: [hvf]
  statements: [vsa]
waivers:
  - {suite: e2e, test: "a*", reason: r, owner: o, expires: soon}
  - {suite: unit, test: b, owner: o, expires: 2026-12-31}
requires: {}
`
	path := filepath.Join(t.TempDir(), "policy.yaml")
	must(t, os.WriteFile(path, []byte(text), 0o644))
	_, err := LoadPolicy(path)
	var problems profiles.Problems
	if exitcode.Of(err) != exitcode.Usage || !errors.As(err, &problems) {
		t.Fatalf("got %v, want problems", err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, p.Path)
		if p.Line == 0 || p.File != path {
			t.Errorf("problem without its place: %v", p)
		}
	}
	want := []string{"kind", "name", "keys[0].sha256", "maxAge", "clockSkew", "require.e2e.specs[1]", "require.e2e.soaks",
		"require.e2e.accelerators[0]", "require.statements[0]", "waivers[0].test", "waivers[0].expires", "waivers[1].reason", "waivers[1].suite", "requires"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s\n%v", diff, err)
	}
}

func TestPolicyMustRequireSomething(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	whole := policyText(key)
	for name, test := range map[string]struct{ old, with, want string }{
		"no test":         {whole[strings.Index(whole, "require:"):], "require:\n  statements: [sbom]\n", "require: requires no check and no spec"},
		"no requirement":  {whole[strings.Index(whole, "require:"):], "", "require: requires no check and no spec"},
		"empty list":      {whole[strings.Index(whole, "require:"):], "require:\n  e2e: {specs: []}\n", "require: requires no check and no spec"},
		"no key":          {"keys:\n  - {name: ci, sha256: " + key.Public().Fingerprint() + "}\n", "", "keys: missing"},
		"no maximum age":  {"maxAge: 168h\n", "", "maxAge: found \"\""},
		"unknown field":   {"maxAge:", "maxage: 1h\nmaxAge:", "policy.yaml:6:1: maxage: unknown key"},
		"an empty file":   {whole, "", "empty file: expected a gate policy"},
		"field twice":     {"clockSkew: 5m", "clockSkew: 5m\nclockSkew: 5m", "duplicate key"},
		"alias":           {"name: release", "name: &x release", "anchor"},
		"nothing but a *": {"pod terminates]", "\"**\"]", "expected a name"},
	} {
		path := filepath.Join(t.TempDir(), "policy.yaml")
		must(t, os.WriteFile(path, []byte(strings.Replace(whole, test.old, test.with, 1)), 0o644))
		if _, err := LoadPolicy(path); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	if _, err := LoadPolicy("/nonexistent/policy.yaml"); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("no file: %v", err)
	}
	large := filepath.Join(t.TempDir(), "policy.yaml")
	must(t, os.WriteFile(large, []byte(strings.Repeat("# \n", 200_000)), 0o644))
	if _, err := LoadPolicy(large); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a huge file: %v", err)
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"*", "", true}, {"*", "a b", true}, {"a*", "abc", true}, {"a*", "ba", false},
		{"*c", "abc", true}, {"a*c", "abc", true}, {"a*c", "ab", false}, {"a*b*c", "axbxc", true}, {"ab*ba", "aba", false}, {"a*a", "a", false},
	} {
		if got := matches(test.pattern, test.name); got != test.want {
			t.Errorf("matches(%q, %q) = %v", test.pattern, test.name, got)
		}
	}
}

// The policy in the documentation must be one that this program reads.
func TestExamplePolicy(t *testing.T) {
	t.Parallel()
	p, err := LoadPolicy("../../docs/templates/gate-policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if p.Name == "" || len(p.Require.E2E.Specs) == 0 || p.soak == 0 || p.maxAge == 0 {
		t.Errorf("the example requires too little: %+v", p.PolicyFile)
	}
}
