package plan

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func fileStep(path string) Step { return Step{Why: "w", File: &File{Path: path, Mode: 0o644}} }

func TestValidate(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("a", 64)
	for _, test := range []struct {
		name string
		step Step
		want string // a part of the one problem; empty for none
	}{
		{"file", fileStep("/etc/a"), ""},
		{"component without source", Step{Why: "w", File: &File{Path: "/a", Mode: 0o755, Component: "c"}}, ""},
		{"component with source", Step{Why: "w", File: &File{Path: "/a", Mode: 0o755, Component: "c", Source: "/s", SHA256: sum}}, ""},
		{"guarded command", Step{Why: "w", Command: &Command{Argv: []string{"x"}, Unless: []string{"y"}}}, ""},
		{"idempotent command", Step{Why: "w", Command: &Command{Argv: []string{"x"}, Idempotent: true}}, ""},
		{"glob in last element", Step{Why: "w", Remove: &Remove{Paths: []string{"/etc/x/*"}}}, ""},
		{"template unit", Step{Why: "w", Unit: &Unit{Name: "serial-getty@ttyS0.service", State: UnitEnabled}}, ""},

		{"no why", Step{File: &File{Path: "/a", Mode: 0o644}}, "does not say why"},
		{"no action", Step{Why: "w"}, "0 actions"},
		{"two actions", Step{Why: "w", File: &File{Path: "/a", Mode: 0o644}, Directory: &Directory{Path: "/b", Mode: 0o755}}, "2 actions"},
		{"relative path", fileStep("etc/a"), "must be absolute, clean"},
		{"unclean path", fileStep("/etc/../a"), "must be absolute, clean"},
		{"root", Step{Why: "w", Directory: &Directory{Path: "/", Mode: 0o755}}, "below /"},
		{"newline in path", fileStep("/etc/a\nb"), "control characters"},
		{"no mode", Step{Why: "w", File: &File{Path: "/a"}}, "mode 0"},
		{"mode with a type", Step{Why: "w", File: &File{Path: "/a", Mode: 0o100644}}, "mode 0100644"},
		{"content and component", Step{Why: "w", File: &File{Path: "/a", Mode: 0o644, Content: "x", Component: "c"}}, "both content and a component"},
		{"source without component", Step{Why: "w", File: &File{Path: "/a", Mode: 0o644, Source: "/s", SHA256: sum}}, "does not say which component"},
		{"source without sum", Step{Why: "w", File: &File{Path: "/a", Mode: 0o644, Component: "c", Source: "/s"}}, "64 hexadecimal"},
		{"empty link", Step{Why: "w", Link: &Link{Path: "/a"}}, "target \"\" is empty"},
		{"unit without type", Step{Why: "w", Unit: &Unit{Name: "kubelet", State: UnitEnabled}}, "not a unit name"},
		{"unit state", Step{Why: "w", Unit: &Unit{Name: "kubelet.service", State: "started"}}, "none of enabled"},
		{"glob above", Step{Why: "w", Remove: &Remove{Paths: []string{"/home/*/x"}}}, "glob before its last element"},
		{"glob at the top", Step{Why: "w", Remove: &Remove{Paths: []string{"/*"}}}, "top-level"},
		{"removes nothing", Step{Why: "w", Remove: &Remove{}}, "removes no path"},
		{"last", Step{Why: "w", Remove: &Remove{Paths: []string{"/etc/x"}}, Last: true}, ""},
		{"last, no removal", Step{Why: "w", File: &File{Path: "/a", Mode: 0o644}, Last: true}, "to be the last and is no removal"},
		{"unguarded", Step{Why: "w", Command: &Command{Argv: []string{"x"}}}, "neither guarded"},
		{"empty command", Step{Why: "w", Command: &Command{Idempotent: true}}, "command is empty"},
		{"environment", Step{Why: "w", Command: &Command{Argv: []string{"x"}, Idempotent: true, Env: map[string]string{"A B": "c"}}}, "not a name"},
		{"staged outside", Step{Why: "w", Command: &Command{Argv: []string{"x"}, Idempotent: true, Stage: []File{{Path: "../a", Mode: 0o600}}}}, "base name of its own"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := Plan{Name: "p", Steps: []Step{test.step}}.Validate()
			switch {
			case test.want == "" && err != nil:
				t.Errorf("Validate() = %v, want nil", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("Validate() = %v, want an error with %q", err, test.want)
			case test.want != "" && strings.Count(err.Error(), "\n") != 0:
				t.Errorf("Validate() found more than the one problem: %v", err)
			}
		})
	}
}

func TestValidateFindsAll(t *testing.T) {
	t.Parallel()
	err := Plan{Steps: []Step{fileStep("a"), {Why: "w"}, fileStep("/x"), fileStep("/x")}}.Validate()
	if err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Fatalf("Validate() = %v, want four problems: no name, path, no action, claimed twice", err)
	}
	if !strings.Contains(err.Error(), "/x is already set by step 3") {
		t.Errorf("Validate() = %v, want the path that two steps claim", err)
	}
}

func TestLastIsLast(t *testing.T) {
	t.Parallel()
	last := Step{Why: "w", Remove: &Remove{Paths: []string{"/etc/x"}}, Last: true}
	if err := (Plan{Name: "p", Steps: []Step{fileStep("/a"), last, last}}).Validate(); err != nil {
		t.Errorf("two at the end: %v", err)
	}
	err := Plan{Name: "p", Steps: []Step{last, fileStep("/a")}}.Validate()
	if err == nil || !strings.Contains(err.Error(), "step 2: it follows a step that is to be the last") {
		t.Errorf("Validate() = %v", err)
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	base := func() Plan {
		return Plan{Name: "p", Steps: []Step{
			{Why: "w", File: &File{Path: "/a", Mode: 0o644, Component: "c", Source: "/cache/1", SHA256: "s"}},
			{Why: "w", Command: &Command{Argv: []string{"x"}, Env: map[string]string{"B": "2", "A": "1"}, Idempotent: true}},
		}}
	}
	hash := func(p Plan) string {
		h, err := p.Hash()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	want := hash(base())
	moved := base()
	moved.Steps[0].File.Source = "/elsewhere"
	if got := hash(moved); got != want {
		t.Error("the hash depends on where a source lies on this host")
	}
	for name, change := range map[string]func(*Plan){
		"content": func(p *Plan) { p.Steps[0].File.SHA256 = "t" },
		"mode":    func(p *Plan) { p.Steps[0].File.Mode = 0o600 },
		"order":   func(p *Plan) { p.Steps[0], p.Steps[1] = p.Steps[1], p.Steps[0] },
		"env":     func(p *Plan) { p.Steps[1].Command.Env["A"] = "3" },
	} {
		changed := base()
		change(&changed)
		if hash(changed) == want {
			t.Errorf("the hash does not depend on the %s", name)
		}
	}
}

func TestUnresolved(t *testing.T) {
	t.Parallel()
	p := Plan{Name: "p", Steps: []Step{
		{Why: "w", File: &File{Path: "/a", Mode: 0o644, Component: "a"}},
		{Why: "w", File: &File{Path: "/b", Mode: 0o644, Component: "b", Source: "/s"}},
		{Why: "w", Command: &Command{Argv: []string{"x"}, Stage: []File{{Path: "1.tar", Component: "c"}}}},
	}}
	if diff := cmp.Diff([]string{"a", "c"}, p.Unresolved()); diff != "" {
		t.Errorf("Unresolved (-want +got):\n%s", diff)
	}
}

func TestWriteText(t *testing.T) {
	t.Parallel()
	p := Plan{Name: "p", Steps: []Step{
		{Why: "reason one", File: &File{Path: "/a", Mode: 0o644, Content: "x\n\ny\n"}},
		{Why: "reason two", Command: &Command{Argv: []string{"sh", "-c", "one\ntwo\n", "it's"}, Stage: []File{{Path: "1.tar", Component: "img:1"}}}},
		{Why: "reason three", Unit: &Unit{Name: "a.service", State: UnitMasked}},
	}}
	var got bytes.Buffer
	if err := p.WriteText(&got); err != nil {
		t.Fatal(err)
	}
	want := `plan p: 3 steps
  1. file /a 0644
     reason one
     | x
     |
     | y
  2. run sh -c '<script of 2 lines>' 'it'\''s'
     reason two
     | stages img:1
  3. unit a.service masked
     reason three
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}
