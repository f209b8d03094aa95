package faults

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate"
)

func said(findings ...validate.Finding) validate.Report {
	return validate.Report{Verdict: validate.Passed, Findings: findings}
}

func found(id string, o validate.Outcome, got string) validate.Finding {
	return validate.Finding{ID: id, Outcome: o, File: "/etc/fstab", Line: 2, Key: "k", Got: got, Want: "none"}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	red := Fault{ID: "x", Expect: Red, Caught: Caught{Validate: Validate{Checks: []string{"swap-enabled"}, Also: []string{"profile-unit-differs"}, Evidence: "/etc/fstab:2 k: swap"}}}
	green := Fault{ID: "x", Expect: Green, Caught: Caught{Validate: Validate{Checks: []string{"swap-enabled"}}}}
	pass := said(found("swap-enabled", validate.Pass, ""), found("profile-unit-differs", validate.Pass, ""))
	also := found("profile-unit-differs", validate.Fail, "x")
	for name, tt := range map[string]struct {
		fault        Fault
		base, report validate.Report
		want         string // of the only problem; "" for none
		cause        string
	}{
		"caught":                {red, pass, said(found("swap-enabled", validate.Fail, "swap"), also), "", "swap-enabled"},
		"caught by a warning":   {red, pass, said(found("swap-enabled", validate.Warn, "swap"), also), "", "swap-enabled"},
		"the second finding":    {red, pass, said(found("swap-enabled", validate.Fail, "other"), found("swap-enabled", validate.Fail, "swap"), also), "", "swap-enabled"},
		"not caught":            {red, pass, said(found("swap-enabled", validate.Pass, ""), also), "swap-enabled is not red", ""},
		"by another only":       {red, pass, said(found("swap-enabled", validate.Pass, ""), also), "not caught there", ""},
		"not looked at":         {red, pass, said(found("swap-enabled", validate.Skip, "no fstab"), also), "did not look: no fstab", ""},
		"other evidence":        {red, pass, said(found("swap-enabled", validate.Fail, "zram"), also), "found: swap-enabled: /etc/fstab:2 k: zram; want none", "swap-enabled"},
		"more than declared":    {red, pass, said(found("swap-enabled", validate.Fail, "swap"), also, found("machine-id-present", validate.Warn, "id")), "machine-id-present is red and not declared", "swap-enabled"},
		"less than declared":    {red, pass, said(found("swap-enabled", validate.Fail, "swap")), "profile-unit-differs is declared to be red as well", "swap-enabled"},
		"red before":            {red, said(found("swap-enabled", validate.Warn, "")), said(found("swap-enabled", validate.Fail, "swap"), also), "red on the unchanged image", ""},
		"a warning of before":   {red, said(found("machine-id-present", validate.Warn, "")), said(found("swap-enabled", validate.Fail, "swap"), also, found("machine-id-present", validate.Warn, "")), "", "swap-enabled"},
		"green":                 {green, pass, pass, "", "swap-enabled"},
		"a good one called bad": {green, pass, said(found("swap-enabled", validate.Fail, "swap")), "calls a good image bad: swap-enabled: /etc/fstab:2", ""},
		"green unseen":          {green, pass, said(found("swap-enabled", validate.Skip, "x")), "did not look", ""},
		"green unheard of":      {green, pass, said(), "is not in the report", ""},
	} {
		r := Judge(tt.fault, tt.base, tt.report)
		if tt.want == "" && (!r.AsDeclared || len(r.Problems) > 0) || tt.want != "" && (r.AsDeclared || len(r.Problems) != 1 || !strings.Contains(r.Problems[0], tt.want)) {
			t.Errorf("%s: as declared: %t, problems %q; want %q", name, r.AsDeclared, r.Problems, tt.want)
		}
		if tt.cause != "" && r.Cause != tt.cause {
			t.Errorf("%s: cause %q, want %q", name, r.Cause, tt.cause)
		}
		if wantWarning := name == "caught by a warning"; (r.Severity == "warning") != wantWarning {
			t.Errorf("%s: severity %q", name, r.Severity)
		}
	}
}

// A directory with hardly anything in it is no good image, and nothing may be
// concluded from what is red in it.
func TestOfflineWantsAGoodImage(t *testing.T) {
	t.Parallel()
	bad := tree(t, map[string]string{"etc/fstab": "/swap none swap sw 0 0\n", "etc/machine-id": "0123456789abcdef0123456789abcdef\n"})
	report, err := Offline{Target: bad}.Run(t.Context(), catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) != 1 || report.Results[0].ID != Unchanged || report.Results[0].AsDeclared || exitcode.Of(report.Err()) != exitcode.Failed {
		t.Errorf("got %+v, %v", report.Results, report.Err())
	}
}

// An image that passes, and one fault that is caught, one that is not.
func TestOffline(t *testing.T) {
	t.Parallel()
	image := tree(t, map[string]string{"etc/fstab": "/ / ext4 defaults 0 1\n", "etc/os-release": "ID=debian\n",
		"etc/sysctl.d/k8s.conf": "net.ipv4.ip_forward = 1\nnet.bridge.bridge-nf-call-iptables = 1\nnet.bridge.bridge-nf-call-ip6tables = 1\n", "etc/modules-load.d/k8s.conf": "overlay\nbr_netfilter\n"})
	swapOn := Fault{ID: "swap", Expect: Red, Change: Change{Files: []File{{Path: "/etc/fstab", Append: "/swap none swap sw 0 0\n"}}},
		Caught: Caught{Validate: Validate{Checks: []string{"swap-enabled"}, Evidence: "/etc/fstab:2 /swap: a swap area"}}}
	harmless := swapOn
	harmless.ID, harmless.Change = "harmless", Change{Files: []File{{Path: "/etc/fstab", Append: "# swap\n"}}}
	misfit := swapOn
	misfit.Change = Change{Files: []File{{Path: "/none", Remove: true}}}

	var done []string
	report, err := Offline{Target: image, Done: func(r Result) { done = append(done, r.ID) }}.Run(t.Context(), []Fault{swapOn, harmless, {ID: "booted only"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(done, " "); got != "unchanged swap harmless" {
		t.Errorf("judged %q", got)
	}
	if r := report.Results; !r[0].AsDeclared || !r[1].AsDeclared || r[1].Cause != "swap-enabled" || r[1].Evidence == "" || r[2].AsDeclared {
		t.Errorf("got %+v", r)
	}
	if err := report.Err(); exitcode.Of(err) != exitcode.Failed || !strings.Contains(err.Error(), "harmless (validate)") {
		t.Errorf("error %v", err)
	}
	var text bytes.Buffer
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FAULT", "swap       validate  yes", "harmless   validate  NO", "2 of 3 as declared"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &text)
		}
	}
	dir := t.TempDir()
	if err := report.Save(dir); err != nil {
		t.Fatal(err)
	}
	back, err := ReadReport(filepath.Join(dir, JSONFile))
	if err != nil || len(back.Results) != 3 || back.Schema != ResultSchema {
		t.Errorf("read back %+v, %v", back, err)
	}
	markdown, err := os.ReadFile(filepath.Join(dir, MarkdownFile))
	if err != nil || !strings.Contains(string(markdown), "| harmless | validate | NO |") {
		t.Errorf("%v\n%s", err, markdown)
	}
	if _, err := (Offline{Target: image}).Run(t.Context(), []Fault{misfit}); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a fault that does not fit the image: %v", err)
	}
}
