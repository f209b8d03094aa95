package child

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/e2e"
	"github.com/nodeimage/packer-plugin-nodeimage/e2e/machine"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// TestMain stands in for the command line when Process starts this program.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "e2e" {
		os.Exit(standIn(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func standIn(args []string) int {
	out := args[slices.Index(args, "--output")+1]
	verdict, code := e2e.Failed, exitcode.Failed
	switch args[0] {
	case "good":
		verdict, code = e2e.Passed, exitcode.OK
	case "infra":
		_, _ = os.Stderr.WriteString("some lines\nno KVM and no TCG\n")
		return exitcode.Infrastructure
	case "silent":
		return exitcode.Failed
	}
	data, err := json.Marshal(e2e.Result{Verdict: verdict, Reason: strings.Join(args, " ")})
	if err != nil || os.WriteFile(filepath.Join(out, e2e.SummaryFile), data, 0o600) != nil {
		return exitcode.Infrastructure
	}
	return code
}

func TestProcess(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	suite := Process(self, "debian-13")
	for image, want := range map[string]e2e.Verdict{"good": e2e.Passed, "bad": e2e.Failed} {
		got, err := suite(t.Context(), e2e.Options{Image: image, OutputDir: filepath.Join(t.TempDir(), "new"), Specs: []string{"ends a pod"}, FailFast: true, Arch: machine.ARM64})
		if err != nil || got.Verdict != want || !strings.Contains(got.Reason, "--spec ends a pod") || !strings.Contains(got.Reason, "--fail-fast") || !strings.Contains(got.Reason, "--arch arm64") || !strings.Contains(got.Reason, "--profile debian-13") {
			t.Errorf("%s: %+v, %v", image, got, err)
		}
	}
	for image, want := range map[string]string{"infra": "no KVM and no TCG", "silent": "left no result"} {
		if _, err := suite(t.Context(), e2e.Options{Image: image, OutputDir: t.TempDir()}); exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", image, err, want)
		}
	}
	// What an earlier run left is not this one's result.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, e2e.SummaryFile), []byte(`{"verdict":"passed"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := suite(t.Context(), e2e.Options{Image: "silent", OutputDir: dir}); err == nil {
		t.Errorf("an earlier result was taken: %+v", got)
	}
}
