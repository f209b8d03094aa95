package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// Every peer gets the packages that are measured of ours.
func TestRecipes(t *testing.T) {
	t.Parallel()
	p, err := profiles.Load("debian-13")
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range peers() {
		files, argv := one.recipe(p)
		all := strings.Join(argv, " ")
		for name, text := range files {
			var v any
			if err := yaml.Unmarshal([]byte(text), &v); err != nil {
				t.Errorf("%s: %s: %v", one.name, name, err)
			}
			all += text
		}
		for _, want := range append(p.PackageList(), p.OS.Codename, "disk.raw", mirror(p)) {
			if !strings.Contains(all, want) {
				t.Errorf("%s: no %s in its recipe", one.name, want)
			}
		}
		if argv[0] != one.name {
			t.Errorf("%s runs %s", one.name, argv[0])
		}
	}
}

func TestLastWords(t *testing.T) {
	t.Parallel()
	err := &run.Error{Where: "host", Argv: []string{"x"}, Err: os.ErrInvalid}
	for name, tt := range map[string]struct{ stdout, stderr, want string }{
		"the error, not what follows":    {"a\n", "step 1\nERROR: no loop device\ncleaning up\n", "invalid argument: ERROR: no loop device"},
		"the last line without an error": {"a\nb\n", "", "invalid argument: b"},
		"nothing":                        {"", "\n", "invalid argument"},
	} {
		if got := lastWords(tt.stdout, tt.stderr, err); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	table, note, err := suite(write("a.json", `{"seconds":800,"soak":"5m0s","measured":{"kubeadm-init-returned-at-seconds":160}}`))
	if err != nil || note != "" || len(table) != 3 || table[0].Seconds != 160 || table[1].Seconds != 500 || table[2].Seconds != 800 {
		t.Errorf("got %+v, %q, %v", table, note, err)
	}
	for name, path := range map[string]string{"no result": filepath.Join(dir, "none"), "no kubeadm": write("b.json", `{"seconds":9,"soak":"1s"}`)} {
		if table, note, err := suite(path); err != nil || note == "" || len(table) != 0 {
			t.Errorf("%s: got %+v, %q, %v", name, table, note, err)
		}
	}
	if _, _, err := suite(write("c.json", "{")); err == nil {
		t.Error("a damaged result: got no error")
	}
}
