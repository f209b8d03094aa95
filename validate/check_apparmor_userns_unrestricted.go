package validate

import "context"

func apparmorUsernsUnrestricted() Check {
	const key = "kernel.apparmor_restrict_unprivileged_userns"
	return Check{
		ID:    "apparmor-userns-unrestricted",
		Title: "AppArmor's restriction of unprivileged user namespaces is lifted",
		Why: `Ubuntu keeps unprivileged programs from making user namespaces, through which most local holes of the
kernel are reached. Guides lift it for browsers and rootless containers. A node needs no such thing: runc
runs as root, and pods with hostUsers: false get their namespace from it.`,
		Reads:      "the sysctl.d directories in systemd's order",
		Fix:        "remove the line, and give the one program that needs it an AppArmor profile with `userns,`",
		Severity:   Warning,
		References: []string{"https://ubuntu.com/blog/ubuntu-23-10-restricted-unprivileged-user-namespaces"},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.sysctls()
			if err != nil {
				return nil, err
			}
			s, ok := c.Get(key)
			if !ok || s.Value != "0" {
				return nil, nil
			}
			return []Finding{Finding{Key: key, Got: s.Value, Want: "1, or no such line"}.at(s.Pos)}, nil
		},
	}
}
