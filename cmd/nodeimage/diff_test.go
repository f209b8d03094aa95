package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func profileFile(t *testing.T, name, sysctls string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name+".yaml")
	text := "apiVersion: nodeimage.dev/v1alpha1\nkind: Profile\nname: mine\nextends: debian-13\nhost:\n  sysctls:\n" + sysctls
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// nodeimage runs the command line, and returns what it printed and its exit code.
func nodeimage(t *testing.T, args ...string) (string, int, error) {
	t.Helper()
	var out, progress bytes.Buffer
	root := newRoot(&out, &progress)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), exitcode.Of(err), err
}

func TestDiffOfProfiles(t *testing.T) {
	t.Parallel()
	a := profileFile(t, "a", "    vm.swappiness: \"1\"\n")
	b := profileFile(t, "b", "    vm.swappiness: \"2\"\n")
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"diff", a, b}, 0, "~ vm.swappiness  1 -> 2"},
		{[]string{"diff", a, b, "--exit-code"}, exitcode.Failed, "~ vm.swappiness  1 -> 2"},
		{[]string{"diff", a, a, "--exit-code"}, 0, "no difference in what was compared"},
		{[]string{"diff", a, b, "--format", "json"}, 0, `"key": "vm.swappiness"`},
		{[]string{"diff", a, b, "--format", "markdown"}, 0, "| ~ | `vm.swappiness` | `1` | `2` |"},
		{[]string{"diff", a}, exitcode.Usage, ""},
		{[]string{"diff", a, a + ".none"}, exitcode.Usage, ""},
	} {
		out, code, err := nodeimage(t, tt.args...)
		if code != tt.code || !strings.Contains(out, tt.want) {
			t.Errorf("%q: got %d, %v\n%s", tt.args, code, err, out)
		}
	}
}

func TestBisectOfProfiles(t *testing.T) {
	t.Parallel()
	good := profileFile(t, "good", "    vm.swappiness: \"1\"\n    kernel.panic: \"5\"\n    vm.max_map_count: \"100000\"\n")
	bad := profileFile(t, "bad", "    vm.swappiness: \"2\"\n    kernel.panic: \"6\"\n    vm.max_map_count: \"100001\"\n")
	out, code, err := nodeimage(t, "bisect", good, bad, "--test", `f() { ! grep -q 'kernel.panic: "6"' "$1"; }; f`)
	if code != 0 || !strings.Contains(out, "one of 3 differences turns the verdict:\n  host.sysctls.kernel.panic: 5 -> 6\n") {
		t.Errorf("got %d, %v\n%s", code, err, out)
	}
	for name, args := range map[string][]string{
		"no test":      {"bisect", good, bad},
		"no tries":     {"bisect", good, bad, "--test", "true", "--tries", "0"},
		"no change":    {"bisect", good, good, "--test", "true"},
		"no document":  {"bisect", good, "/dev/null", "--test", "true"},
		"missing":      {"bisect", good, bad + ".none", "--test", "true"},
		"no contrast":  {"bisect", good, bad, "--test", "true"},
		"another code": {"bisect", good, bad, "--test", "exit 4;"},
	} {
		if _, code, err := nodeimage(t, args...); code != exitcode.Usage {
			t.Errorf("%s: got %d, %v, want exit code 2", name, code, err)
		}
	}
}
