package validate

import "context"

func containerdDelegateMissing() Check {
	return Check{
		ID:    "containerd-delegate-missing",
		Title: "systemd may move containers out of the cgroups that containerd made",
		Why: `Without Delegate=yes systemd considers the cgroups below containerd.service its own: on a daemon-reload
it moves processes and takes controllers away.`,
		Reads:      "Delegate of containerd.service with its drop-ins",
		Scope:      "nodes with containerd.service",
		Fix:        "Delegate=yes in containerd.service",
		Severity:   Error,
		References: []string{"https://github.com/containerd/containerd/blob/main/docs/ops.md#systemd", "https://systemd.io/CGROUP_DELEGATION/"},
		AppliesTo:  hasContainerdUnit,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			svc, err := n.service(containerdUnit)
			if err != nil || svc.Delegated() {
				return nil, err
			}
			return []Finding{unitSetting(svc, svc.Delegate, "Delegate=yes", "yes")}, nil
		},
	}
}
