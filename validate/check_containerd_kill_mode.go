package validate

import "context"

func containerdKillMode() Check {
	return Check{
		ID:    "containerd-kill-mode",
		Title: "a restart of containerd kills every container of the node",
		Why: `With systemd's default KillMode=control-group, stopping containerd.service kills all shims with their
containers. An upgrade, or needrestart, then takes down every pod of the node.`,
		Reads:      "KillMode of containerd.service with its drop-ins",
		Scope:      "nodes with containerd.service",
		Fix:        "KillMode=process in containerd.service",
		Severity:   Error,
		References: []string{"https://github.com/containerd/containerd/blob/main/docs/ops.md#systemd"},
		AppliesTo:  hasContainerdUnit,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			svc, err := n.service(containerdUnit)
			if err != nil || svc.KillMode.Value == "process" {
				return nil, err
			}
			svc.KillMode.Key = "KillMode"
			return []Finding{unitSetting(svc, svc.KillMode, "KillMode=process", "process")}, nil
		},
	}
}
