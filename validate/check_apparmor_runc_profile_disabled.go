package validate

import "context"

func apparmorRuncProfileDisabled() Check {
	return Check{
		ID:    "apparmor-runc-profile-disabled",
		Title: "AppArmor's profile for runc is disabled",
		Why: `A link in /etc/apparmor.d/disable is a remedy found in forums for pods that stay in Terminating. The
profile is there to let runc make user namespaces where unprivileged ones are restricted; without it pods
with hostUsers: false fail on Ubuntu.`,
		Reads:      "/etc/apparmor.d/runc and /etc/apparmor.d/disable",
		Scope:      "nodes with AppArmor's runc profile",
		Fix:        "rm /etc/apparmor.d/disable/runc, and upgrade containerd to 1.7.18 or later",
		Severity:   Warning,
		References: []string{"https://bugs.launchpad.net/ubuntu/+source/containerd/+bug/2065423", "containerd/containerd#10542"},
		AppliesTo: func(n *Node) (string, error) {
			policy, err := n.apparmor()
			if err == nil && policy.Profile("runc") == nil {
				return "there is no AppArmor profile for runc", nil
			}
			return "", err
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			policy, err := n.apparmor()
			if err != nil || !policy.Profile("runc").Disabled {
				return nil, err
			}
			return []Finding{{File: "/etc/apparmor.d/disable/runc", Key: "profile runc", Got: "disabled", Want: "loaded"}}, nil
		},
	}
}
