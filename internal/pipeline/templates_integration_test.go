//go:build integration

package pipeline_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Every template is formatted, and parses as Packer's own parser has it. What
// other plugins' options may be, Packer knows only with those plugins.
func TestTemplatesParse(t *testing.T) {
	env := hermetic(t)
	templates, err := filepath.Glob(filepath.Join(repository, "docs/templates/*.pkr.hcl"))
	if err != nil || len(templates) < 7 {
		t.Fatalf("found %d templates, %v", len(templates), err)
	}
	for _, path := range templates {
		command(t, env, packer(t), "fmt", "-check", path)
		command(t, env, packer(t), "validate", "-syntax-only", path)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		last := -1
		for _, name := range []string{"nodeimage-host", "nodeimage-runtime", "nodeimage-kubernetes", "nodeimage-seal"} {
			at := strings.Index(string(content), `provisioner "`+name+`"`)
			if at <= last {
				t.Errorf("%s: provisioner %s is missing or too early", path, name)
			}
			last = at
		}
	}
	for name, text := range map[string]string{"fmt": "source \"null\" \"node\" {\n  ssh_host=\"x\"\n}\n", "validate": "source \"null\" \"node\" {\n"} {
		path := filepath.Join(t.TempDir(), "bad.pkr.hcl")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		option := map[string]string{"fmt": "-check", "validate": "-syntax-only"}[name]
		cmd := exec.CommandContext(t.Context(), packer(t), name, option, path)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Errorf("packer %s is content with %q: %s", name, text, out)
		}
	}
}
