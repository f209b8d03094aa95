//go:build integration

package validate

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// Distributions' own packages, with the configuration that they ship, get the
// findings that reading those packages predicts. Needs root, mmdebstrap and a
// Debian mirror.
func TestDebianPackages(t *testing.T) {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Fatalf("%v; install mmdebstrap", err)
	}
	type want struct {
		outcome Outcome
		file    string
		got     string
	}
	const config = "/etc/containerd/config.toml"
	for _, test := range []struct {
		suite, version string
		want           map[string]want
	}{
		{"bookworm", "1.6.20", map[string]want{
			"cgroup-driver-mismatch":      {Fail, config, "cgroupfs for pods of handler runc (the default)"},
			"apparmor-runc-signal-denied": {Pass, "", ""}, // AppArmor 3 has no profile for runc
			"runc-vulnerable":             {Warn, "/usr/sbin/runc", "CVE-2025-31133"},
			"containerd-vulnerable":       {Warn, "/usr/bin/containerd", "CVE-2024-25621"},
			"containerd-end-of-life":      {Warn, "/usr/bin/containerd", "2025-08-23"},
			"runc-unsupported":            {Warn, "/usr/sbin/runc", "1.1.5"},
			"cni-plugins-missing":         {Pass, "", ""},
			"cni-plugins-old":             {Warn, "/usr/lib/cni/loopback", "1.1.1"},
			"containerd-kill-mode":        {Pass, "", ""},
			"runc-without-seccomp":        {Pass, "", ""},
		}},
		{"trixie", "1.7.24", map[string]want{
			"cgroup-driver-mismatch":         {Fail, config, "cgroupfs for pods of handler runc (the default)"},
			"apparmor-runc-signal-denied":    {Pass, "", ""}, // the profile attaches, and Debian's containerd lets runc in
			"runc-vulnerable":                {Fail, "/usr/sbin/runc", "CVE-2025-52881"},
			"containerd-config-keys-ignored": {Pass, "", ""},
			"cni-plugins-missing":            {Pass, "", ""},
			"packages-not-held":              {Warn, "/var/lib/dpkg/status", "containerd 1.7.24~ds1"},
		}},
		{"forky", "2.1.9", map[string]want{
			"cgroup-driver-mismatch":      {Fail, config, "containerd answers the kubelet cgroupfs, and the kubelet follows"},
			"apparmor-runc-signal-denied": {Pass, "", ""},
			"containerd-end-of-life":      {Warn, "/usr/bin/containerd", "2026-07-03"},
			"cni-plugins-missing":         {Pass, "", ""},
		}},
	} {
		t.Run(test.suite, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root.tar")
			// In namespaces of its own, so that nothing stays mounted or running.
			_, err := run.Host{}.Run(t.Context(), run.Cmd{Argv: run.Isolated("mmdebstrap", "--mode=root", "--variant=apt",
				"--include=containerd,runc,containernetworking-plugins,apparmor", `--aptopt=APT::Install-Recommends "false"`,
				test.suite, root, "http://deb.debian.org/debian")})
			must(t, err)
			opened, err := target.Open(t.Context(), root)
			must(t, err)
			defer opened.Close()
			node, err := NewNode(opened, nil)
			must(t, err)
			node.now = today()
			p, err := node.program("containerd")
			must(t, err)
			if !strings.HasPrefix(p.Version, test.version) {
				t.Errorf("containerd reads as %q, want %s: the suite has moved on, or the program was misread", p.Version, test.version)
			}
			report, err := judge(t.Context(), node, Catalogue(), nil)
			must(t, err)
			for id, w := range test.want {
				var said []string
				ok := false
				for _, f := range report.Findings {
					if f.ID == id {
						said = append(said, fmt.Sprintf("%s %s %q", f.Outcome, f.File, f.Got))
						ok = ok || f.Outcome == w.outcome && f.File == w.file && strings.Contains(f.Got, w.got)
					}
				}
				if !ok {
					t.Errorf("%s: got %s, want %s at %q with %q", id, strings.Join(said, "; "), w.outcome, w.file, w.got)
				}
			}
			var text strings.Builder
			must(t, report.WriteText(&text, TextOptions{Skipped: true}))
			t.Log(text.String())
		})
	}
}
