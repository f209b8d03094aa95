//go:build integration

package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAgainstSystemctl asks the real systemctl about the same tree. The
// service in it that could not start is left out: is-enabled does not look.
func TestAgainstSystemctl(t *testing.T) {
	systemctl, err := exec.LookPath("systemctl")
	if err != nil {
		t.Fatalf("systemctl is needed to compare with: %v", err)
	}
	dir := t.TempDir()
	for p, data := range stateFiles() {
		full := filepath.Join(dir, p)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(data, "-> "); ok {
			err = os.Symlink(target, full)
		} else {
			err = os.WriteFile(full, []byte(data), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	u, err := Load(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	for name := range states() {
		out, _ := exec.Command(systemctl, "--root="+dir, "is-enabled", name).CombinedOutput() // the status repeats the answer
		want := strings.TrimSpace(string(out))
		e, err := u.Enablement(name)
		if err != nil {
			t.Fatal(err)
		}
		got := e.State
		if got == "not-found" && strings.Contains(want, "No such file") {
			continue
		}
		if got != want {
			t.Errorf("%s: model says %s, systemctl says %s", name, got, want)
		}
	}
}
