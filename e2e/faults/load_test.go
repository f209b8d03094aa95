package faults

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func catalogue(t *testing.T) []Fault {
	t.Helper()
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	all := catalogue(t)
	if len(all) < 40 {
		t.Errorf("%d faults, want at least 40", len(all))
	}
	ids := map[string]Fault{}
	for _, f := range all {
		ids[f.ID] = f
	}
	// The two faults that the project exists for are shown in both stages,
	// and so is what looks like the second and is none.
	for _, id := range []string{"a1-cgroup-driver-mismatch", "b1-apparmor-runc-signal-denied", "b2-apparmor-runc-elsewhere"} {
		if f, ok := ids[id]; !ok || !f.In(StageValidate) || !f.In(StageE2E) {
			t.Errorf("%s is declared for %v, want both stages", id, f.Stages())
		}
	}
	if ids["b2-apparmor-runc-elsewhere"].Expect != Green {
		t.Error("b2 must be green")
	}
	if ids["a1-cgroup-driver-mismatch"].Caught.E2E.Witness.Evidence == "" || ids["b1-apparmor-runc-signal-denied"].Caught.E2E.Witness.Evidence == "" {
		t.Error("a1 and b1 must show themselves to a witness")
	}
}

const good = `apiVersion: nodeimage.dev/v1alpha1
kind: Fault
id: x
title: something is wrong
why: because
see: [containerd/containerd#1]
expect: red
change:
  files:
    - path: /etc/fstab
      append: "x"
caught:
  validate:
    checks: [swap-enabled]
    evidence: 'x'
`

func TestParseRefusesAllAtOnce(t *testing.T) {
	t.Parallel()
	if _, err := Parse("x.yaml", []byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		old, now string
		want     []string
	}{
		"two problems":          {"expect: red\nchange:\n  files:\n    - path: /etc/fstab", "expect: blue\nchange:\n  files:\n    - path: etc/fstab", []string{`x.yaml:7:9: expect: found "blue"`, `x.yaml:10:13: change.files[0].path: found "etc/fstab"`}},
		"unknown key":           {"append:", "apend:", []string{`did you mean "append"?`}},
		"unknown check":         {"[swap-enabled]", "[swap-enabeld]", []string{`x.yaml:14:14: caught.validate.checks[0]: no check is called "swap-enabeld"`}},
		"no change":             {"change:\n  files:\n    - path: /etc/fstab\n      append: \"x\"\n", "", []string{"changes nothing"}},
		"two ways":              {"append: \"x\"", "append: \"x\"\n      remove: true", []string{"append and remove, expected one"}},
		"no way":                {"      append: \"x\"\n", "", []string{"change.files[0]: changes nothing"}},
		"mode":                  {"append: \"x\"", "append: \"x\"\n      mode: \"0999\"", []string{"octal mode"}},
		"regexp":                {"append: \"x\"", "edit:\n        - regexp: '('", []string{"missing closing )"}},
		"find and regexp":       {"append: \"x\"", "edit:\n        - regexp: 'a'\n          find: b", []string{"expected find or regexp"}},
		"evidence":              {"    evidence: 'x'\n", "", []string{"expected evidence"}},
		"evidence of a green":   {"expect: red", "expect: green", []string{"a check that passes has no evidence"}},
		"id":                    {"id: x", "id: y", []string{`expected the file's name in kebab-case, "x"`}},
		"reference":             {"containerd/containerd#1", "somewhere", []string{"expected owner/repo#number"}},
		"named twice":           {"[swap-enabled]", "[swap-enabled, swap-enabled]", []string{"named twice"}},
		"path with a quote":     {"/etc/fstab", `'/etc/"x"'`, []string{"without quotes"}},
		"command line":          {"change:\n", "change:\n  commandLine: ['a b']\n", []string{"expected one word"}},
		"component without sum": {"change:\n", "change:\n  components:\n    runc: {version: 1.1.1}\n", []string{"its h1: sum"}},
		"package":               {"change:\n", "change:\n  packages:\n    removed: [UPPER]\n", []string{"expected a Debian package"}},
		"cause":                 {"caught:\n", "caught:\n  e2e:\n    specs: [init]\n    cause: nobody\n    evidence: x\n", []string{`no cause is called "nobody"`}},
		"specs missing":         {"caught:\n", "caught:\n  e2e:\n    cause: swap-enabled\n    evidence: x\n", []string{"expected specs"}},
		"half a witness":        {"caught:\n", "caught:\n  e2e:\n    specs: [init]\n    cause: swap-enabled\n    evidence: x\n    witness: {evidence: x}\n", []string{"expected specs and evidence"}},
		"not YAML":              {"kind: Fault", "kind: @", []string{"not YAML"}},
		"empty":                 {good, "", []string{"empty file"}},
	} {
		text := strings.Replace(good, tt.old, tt.now, 1)
		if text == good {
			t.Fatalf("%s: the good file has no %q", name, tt.old)
		}
		_, err := Parse("x.yaml", []byte(text))
		var problems profiles.Problems
		if !errors.As(err, &problems) {
			t.Errorf("%s: %v, want problems", name, err)
			continue
		}
		if name == "not YAML" || name == "empty" {
			if len(problems) != 1 {
				t.Errorf("%s: %d problems, want the one that explains the others: %v", name, len(problems), err)
			}
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v\nwant %q", name, err, want)
			}
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	if _, err := load(fstest.MapFS{}); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("an empty catalogue: %v", err)
	}
	_, err := load(fstest.MapFS{"x.yaml": {Data: []byte(good + "more: 1\n")}, "y.yaml": {Data: []byte(good)}})
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "x.yaml:") || !strings.Contains(err.Error(), "y.yaml:") {
		t.Errorf("two bad files: %v, want both named", err)
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	all := []Fault{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	got, err := Select(all, []string{"c", "a"})
	if err != nil || !slices.EqualFunc(got, []string{"a", "c"}, func(f Fault, id string) bool { return f.ID == id }) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := Select(all, []string{"a", "x", "y"}); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), `"x"`) || !strings.Contains(err.Error(), `"y"`) {
		t.Errorf("unknown faults: %v", err)
	}
}
