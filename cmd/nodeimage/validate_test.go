package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// runVerb executes a verb as the root command would.
func runVerb(t *testing.T, cmd *cobra.Command, args ...string) (stdout string, err error) {
	t.Helper()
	var out, progress bytes.Buffer
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetOut(&out)
	cmd.SetErr(&progress)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// rootTree is a directory with the settings that every node needs, and more files.
func rootTree(t *testing.T, more map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"etc/sysctl.d/90.conf":       "net.ipv4.ip_forward = 1\n",
		"etc/modules-load.d/90.conf": "overlay\nbr_netfilter\n",
		"usr/lib/os-release":         "ID=debian\n",
		"var/lib/keep":               "",
	}
	for p, content := range more {
		files[p] = content
	}
	for p, content := range files {
		p = filepath.Join(dir, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestValidateExitCodes(t *testing.T) {
	t.Parallel()
	bad := map[string]string{"etc/fstab": "/swap.img none swap sw 0 0\n"}
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	text := "apiVersion: nodeimage.dev/v1alpha1\nkind: ValidationPolicy\nchecks:\n- {id: swap-enabled, severity: warning, reason: a test, expires: 9999-12-31}\n"
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		code int
		out  string
	}{
		{"good", []string{rootTree(t, nil)}, exitcode.OK, "PASS"},
		{"bad", []string{rootTree(t, bad)}, exitcode.Failed, "/etc/fstab:1  /swap.img"},
		{"bad, and a policy", []string{"--policy", policy, rootTree(t, bad)}, exitcode.OK, "policy: warning until 9999-12-31: a test"},
		{"skipped are listed", []string{"--skipped", rootTree(t, nil)}, exitcode.OK, "containerd is not installed"},
		{"no target", []string{"/nonexistent/target"}, exitcode.Usage, ""},
		{"no argument", nil, exitcode.Usage, ""},
		{"no such profile", []string{"--profile", "none", rootTree(t, nil)}, exitcode.Usage, ""},
		{"no such policy", []string{"--policy", "/nonexistent/policy.yaml", rootTree(t, nil)}, exitcode.Usage, ""},
		{"JUnit", []string{"--format", "junit", rootTree(t, bad)}, exitcode.Failed, "<testsuites>"},
		{"SARIF", []string{"--format", "sarif", rootTree(t, bad)}, exitcode.Failed, `"version": "2.1.0"`},
		{"annotations", []string{"--format", "github", rootTree(t, bad)}, exitcode.Failed, "::error title=swap-enabled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			out, err := runVerb(t, newValidate(), test.args...)
			if exitcode.Of(err) != test.code || !strings.Contains(out, test.out) {
				t.Errorf("exit code %d (%v), want %d and %q in:\n%s", exitcode.Of(err), err, test.code, test.out, out)
			}
		})
	}
}

func TestValidateJSON(t *testing.T) {
	t.Parallel()
	out, err := runVerb(t, newValidate(), "--format", "json", rootTree(t, map[string]string{"etc/machine-id": "0123456789abcdef0123456789abcdef\n"}))
	if exitcode.Of(err) != exitcode.Failed {
		t.Fatalf("error %v", err)
	}
	var got struct {
		Verdict  string
		Findings []struct{ ID, Outcome, File string }
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	for _, f := range got.Findings {
		if f.ID == "machine-id-present" && f.Outcome == "fail" && f.File == "/etc/machine-id" && got.Verdict == "fail" {
			return
		}
	}
	t.Errorf("the finding is missing from:\n%s", out)
}

func TestExplain(t *testing.T) {
	t.Parallel()
	if out, err := runVerb(t, newExplain(), "apparmor-runc-signal-denied"); err != nil || !strings.Contains(out, "containerd/containerd/issues/10542") {
		t.Errorf("error %v:\n%s", err, out)
	}
	if out, err := runVerb(t, newExplain()); err != nil || !strings.Contains(out, "\nswap-enabled ") {
		t.Errorf("error %v, want a list:\n%s", err, out)
	}
	if _, err := runVerb(t, newExplain(), "swap-enabbled"); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "did you mean swap-enabled") {
		t.Errorf("an unknown ID gives %v", err)
	}
}
