package validate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func policyFile(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "policy.yaml")
	must(t, os.WriteFile(p, []byte(text), 0o600))
	return p
}

const policyHead = "apiVersion: nodeimage.dev/v1alpha1\nkind: ValidationPolicy\nchecks:\n"

func TestPolicyChangesSeverity(t *testing.T) {
	t.Parallel()
	p, err := LoadPolicy(policyFile(t, policyHead+`
- id: ssh-host-keys-present
  severity: warning
  reason: a lab image
  expires: 2026-11-23
- id: hostname-fixed
  severity: error
  reason: names are ours
  expires: 2027-01-01
- id: machine-id-present
  severity: ignore
  reason: the hypervisor sets it
  expires: 2027-01-01
`), today())
	must(t, err)
	node := tree{"/etc/ssh/ssh_host_rsa_key": file("secret"), "/etc/hostname": lines("one"), "/etc/machine-id": lines("0123456789abcdef0123456789abcdef")}
	report, err := judge(t.Context(), fixture{node: node}.open(t), Catalogue(), p)
	must(t, err)
	for _, f := range report.Findings {
		switch f.ID {
		case "ssh-host-keys-present":
			if f.Outcome != Warn || f.Severity != Warning {
				t.Errorf("%s: %s, %s; want it lowered", f.ID, f.Outcome, f.Severity)
			}
		case "hostname-fixed":
			if f.Outcome != Fail || f.Severity != Error {
				t.Errorf("%s: %s, %s; want it raised", f.ID, f.Outcome, f.Severity)
			}
		case "machine-id-present":
			if f.Outcome != Skip || !strings.Contains(f.Got, "until 2027-01-01: the hypervisor sets it") {
				t.Errorf("%s: %s %q; want it skipped with the reason", f.ID, f.Outcome, f.Got)
			}
		}
	}
	var text strings.Builder
	must(t, report.WriteText(&text, TextOptions{}))
	if !strings.Contains(text.String(), "policy: warning until 2026-11-23: a lab image") {
		t.Errorf("the text does not say why the severity is another:\n%s", text.String())
	}
}

func TestPolicyRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want string }{
		{"unknown check", policyHead + "- {id: swap-enbled, severity: warning, reason: r, expires: 2027-01-01}\n", `:4: id: no check is called "swap-enbled"`},
		{"expired yesterday", policyHead + "- {id: swap-enabled, severity: warning, reason: r, expires: 2026-11-22}\n", ":4: expires: the entry for swap-enabled ended on 2026-11-22"},
		{"no reason", policyHead + "- {id: swap-enabled, severity: warning, expires: 2027-01-01}\n", ":4: reason: missing"},
		{"no day", policyHead + "- {id: swap-enabled, severity: warning, reason: r}\n", `:4: expires: found ""`},
		{"no severity", policyHead + "- {id: swap-enabled, severity: info, reason: r, expires: 2027-01-01}\n", `:4: severity: found "info"`},
		{"twice", policyHead + strings.Repeat("- {id: swap-enabled, severity: warning, reason: r, expires: 2027-01-01}\n", 2), ":5: id: swap-enabled has an entry already"},
		{"unknown key", policyHead + "- {id: swap-enabled, severty: warning, reason: r, expires: 2027-01-01}\n", `:4: unknown key "severty"`},
		{"unknown key at the top", policyHead + "  []\ncheck: 1\n", "field check not found"},
		{"not a mapping", policyHead + "- swap-enabled\n", ":4: want a mapping"},
		{"another kind", "apiVersion: v1\nkind: Pod\nchecks: []\n", `kind "Pod"`},
		{"empty", "", "is empty"},
		{"two documents", policyHead + "  []\n---\n{}\n", "second document"},
		{"no YAML", "\t", "policy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := LoadPolicy(policyFile(t, test.text), today())
			if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v (exit code %d), want exit code 2 and %q", err, exitcode.Of(err), test.want)
			}
		})
	}
	if _, err := LoadPolicy("/nonexistent/policy.yaml", today()); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a missing file gives %v", err)
	}
	_, err := LoadPolicy(policyFile(t, policyHead+"- {id: x, severity: y, reason: '', expires: z}\n- {id: swap-enabled, severity: warning, reason: r, expires: 2000-01-01}\n"), today())
	for _, want := range []string{`called "x"`, `found "y"`, "reason: missing", `found "z"`, "ended on 2000-01-01"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("not every problem is told at once; %q is missing from: %v", want, err)
		}
	}
}

// The last day counts to its end, where the reader is.
func TestPolicyLastDay(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("far east", 14*3600)
	text := policyHead + "- {id: swap-enabled, severity: warning, reason: r, expires: 2026-11-23}\n"
	if _, err := parsePolicy("p", []byte(text), time.Date(2026, 11, 23, 23, 59, 59, 0, zone)); err != nil {
		t.Error(err)
	}
	if _, err := parsePolicy("p", []byte(text), time.Date(2026, 11, 24, 0, 0, 0, 0, zone)); err == nil {
		t.Error("the entry counts a day longer than it says")
	}
}
