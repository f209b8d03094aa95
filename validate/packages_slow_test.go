//go:build integration && slow

package validate

import "testing"

func TestOtherDebianPackages(t *testing.T) {
	for _, s := range []suite{
		{"bookworm", "1.6.20", append(bare(),
			found{Fail, "cgroup-driver-mismatch", shippedConfig, criDriverKey, "cgroupfs for pods of handler runc (the default)"},
			found{Warn, "runc-vulnerable", "/usr/sbin/runc", "version", "CVE-2025-31133"},
			found{Warn, "containerd-vulnerable", "/usr/bin/containerd", "version", "CVE-2024-25621"},
			found{Warn, "containerd-end-of-life", "/usr/bin/containerd", "version", "2025-08-23"},
			found{Warn, "runc-unsupported", "/usr/sbin/runc", "version", "1.1.5"},
			found{Warn, "cni-plugins-old", "/usr/lib/cni/loopback", "version", "1.1.1"},
			found{Warn, "containerd-nofile-limit", "/usr/lib/systemd/system/containerd.service", "LimitNOFILE", "1073741816"},
		), []string{
			"apparmor-runc-signal-denied", // AppArmor 3 has no profile for runc
			"runc-older-than-tested", "cni-plugins-missing", "containerd-kill-mode", "runc-without-seccomp",
		}},
		{"forky", "2.1.9", append(bare(),
			found{Fail, "cgroup-driver-mismatch", shippedConfig, criDriverKey, "containerd answers the kubelet cgroupfs, and the kubelet follows"},
			found{Warn, "containerd-end-of-life", "/usr/bin/containerd", "version", "2026-07-03"},
		), []string{
			"apparmor-runc-signal-denied", "apparmor-runc-profile-disabled", "containerd-vulnerable", "containerd-nofile-limit",
			"runc-unsupported", "runc-older-than-tested", "cni-plugins-missing", "containerd-handler-without-options",
		}},
	} {
		t.Run(s.name, func(t *testing.T) { testSuite(t, s) })
	}
}
