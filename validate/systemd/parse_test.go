package systemd

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func TestParse(t *testing.T) {
	t.Parallel()
	file := "/u"
	at := func(n int) source.Position { return source.Position{File: file, Line: n} }
	text := "\ufeff# c\nX=1\n[A]\n K = v 1 \nL=a\\\n# in between\n  b\\\n;c\nM\n[B\n=x\nM=\n[C]\nlast=\\\\\nopen=1\\"
	got, problems := Parse(file, []byte(text))
	want := []Assignment{
		{"A", "K", "v 1", at(4)},
		{"A", "L", "a b M", at(5)},
		{"C", "last", "\\\\", at(14)},
		{"C", "open", "1", at(15)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	lines := []int{}
	for _, p := range problems {
		lines = append(lines, p.Pos.Line)
	}
	if diff := cmp.Diff([]int{2, 10, 11, 12}, lines); diff != "" {
		t.Error(diff, problems)
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		`a  b`:                  {"a", "b"},
		`"a b" 'c "d"' e"f"`:    {"a b", `c "d"`, "ef"},
		`a\ b \x41 \101 \u00e9`: {"a b", "A", "A", "é"},
		`""`:                    {""},
		``:                      nil,
		`\d`:                    {`\d`},
	} {
		got, err := Split(in)
		if err != nil {
			t.Errorf("Split(%q): %v", in, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Split(%q): %s", in, diff)
		}
	}
	for _, in := range []string{`"a`, `\`, `\x4`, `\xzz`} {
		if got, err := Split(in); err == nil {
			t.Errorf("Split(%q) = %q, want an error", in, got)
		}
	}
}

func TestEnvironmentFile(t *testing.T) {
	t.Parallel()
	file := "/etc/default/kubelet"
	text := "# comment \\\ncontinued=1\nKUBELET_EXTRA_ARGS=\"--a=1 --b='x y'\" \nEMPTY=\nJOIN=a\\\nb\n  SP = v w  \nQ='single $X'\"dq\\\"\"\nnot an assignment\n9BAD=1\nLAST=z"
	at := func(n int) source.Position { return source.Position{File: file, Line: n} }
	want := []Variable{
		{"KUBELET_EXTRA_ARGS", "--a=1 --b='x y'", at(3)},
		{"EMPTY", "", at(4)},
		{"JOIN", "ab", at(5)},
		{"SP", "v w", at(7)},
		{"Q", "single $Xdq\"", at(8)},
		{"LAST", "z", at(11)},
	}
	if diff := cmp.Diff(want, ParseEnvironment(file, []byte(text))); diff != "" {
		t.Error(diff)
	}
}

func TestArgv(t *testing.T) {
	t.Parallel()
	u := load(t, map[string]string{
		"/etc/systemd/system/k.service": "[Service]\nEnvironment=A=x\nEnvironmentFile=-/etc/none\nEnvironmentFile=/etc/default/k\nExecStart=/bin/k $EXTRA --one=${A} $UNSET ${EXTRA} $$5 a$A\n",
		"/etc/default/k":                "EXTRA=--p=1 --q='2 3'\nA=y\n",
	})
	s, err := u.Service("k.service")
	if err != nil {
		t.Fatal(err)
	}
	env := source.Position{File: "/etc/default/k", Line: 1}
	unit := source.Position{File: "/etc/systemd/system/k.service", Line: 5}
	want := []Arg{{"--p=1", env}, {"--q=2 3", env}, {"--one=y", source.Position{File: "/etc/default/k", Line: 2}}, {"--p=1 --q='2 3'", env}, {"$5", unit}, {"a$A", unit}}
	got := s.Argv(s.ExecStart[0])
	// Quotes inside a bare value survive the reading of the file and are
	// removed when $EXTRA is split into words.
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(s.EnvironmentFiles) != 2 || !s.EnvironmentFiles[0].Missing || !s.EnvironmentFiles[0].Optional || s.EnvironmentFiles[1].Missing {
		t.Errorf("%+v", s.EnvironmentFiles)
	}
}

func FuzzUnit(f *testing.F) {
	f.Add(containerdUnit, "A=\"b c\"\n", "[Service]\nExecStart=\nExecStart=/x ${A} $B %i\n")
	f.Add("[Unit\n=\n[Service]\nExecStart=@-:/x \"", "A='", "\\")
	f.Add("[Install]\nAlias=x.service y.service\nWantedBy=\n", "A=\\\n\\", "[Service]\nEnvironment=\"\n")
	f.Fuzz(func(t *testing.T, unit, env, dropin string) {
		u, err := Load(image(map[string]string{
			"/etc/systemd/system/x@.service":           unit,
			"/etc/systemd/system/x@1.service.d/a.conf": dropin,
			"/etc/systemd/system/x@1.service.d/b.conf": "[Service]\nEnvironmentFile=/e\n",
			"/e": env,
		}))
		if err != nil {
			t.Skip()
		}
		s, err := u.Service("x@1.service")
		if err != nil {
			return
		}
		for _, c := range s.ExecStart {
			for _, a := range s.Argv(c) {
				if a.Pos.IsDefault() {
					t.Fatalf("argument %q without a place", a.Text)
				}
			}
		}
		for _, p := range s.Unit.Problems {
			if p.Pos.Line == 0 {
				t.Fatalf("problem %q without a line", p.Text)
			}
		}
		if _, err := u.Enablement("x@1.service"); err != nil {
			t.Fatal(err)
		}
	})
}
