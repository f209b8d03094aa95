package validate

import (
	"context"
	"slices"
)

func containerdNotRestarted() Check {
	return Check{
		ID:         "containerd-not-restarted",
		Title:      "systemd does not start containerd again after a crash",
		Why:        `With systemd's default Restart=no one crash of containerd makes the node NotReady until somebody logs in.`,
		Reads:      "Restart of containerd.service with its drop-ins",
		Scope:      "nodes with containerd.service",
		Fix:        "Restart=always in containerd.service",
		Severity:   Warning,
		References: []string{"https://github.com/containerd/containerd/blob/main/containerd.service"},
		AppliesTo:  hasContainerdUnit,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			svc, err := n.service(containerdUnit)
			if err != nil || slices.Contains([]string{"always", "on-failure", "on-abnormal", "on-abort"}, svc.Restart.Value) {
				return nil, err
			}
			return []Finding{unitSetting(svc, svc.Restart, "Restart=always", "always")}, nil
		},
	}
}
