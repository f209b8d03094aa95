package validate

import "context"

func containerdAppArmorDisabled() Check {
	return Check{
		ID:    "containerd-apparmor-disabled",
		Title: "containerd is told not to confine containers with AppArmor",
		Why: `disable_apparmor = true is a remedy found in forums for pods that stay in Terminating. It takes the
confinement of every container away; the right one is a containerd with the fix.`,
		Reads:      "disable_apparmor in containerd's effective configuration",
		Scope:      "nodes with containerd whose CRI loads",
		Fix:        "remove disable_apparmor",
		Severity:   Error,
		References: []string{"containerd/containerd#10542", "https://github.com/containerd/containerd/blob/main/docs/cri/config.md"},
		AppliesTo:  withCRI,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.containerd()
			if err != nil || !c.DisableAppArmor.Value {
				return nil, err
			}
			return []Finding{Finding{Key: c.DisableAppArmor.Key, Got: "disable_apparmor = true", Want: "false, the default"}.at(c.DisableAppArmor.Pos)}, nil
		},
	}
}
