package validate

import "context"

func containerdTasksLimited() Check {
	return Check{
		ID:    "containerd-tasks-limited",
		Title: "systemd limits the threads of containerd and its shims",
		Why: `systemd's default is a share of the machine's threads for all of containerd and its shims together. A
node with many pods then fails with "resource temporarily unavailable".`,
		Reads:      "TasksMax of containerd.service with its drop-ins",
		Scope:      "nodes with containerd.service",
		Fix:        "TasksMax=infinity in containerd.service",
		Severity:   Warning,
		References: []string{"https://github.com/containerd/containerd/blob/main/docs/ops.md#systemd"},
		AppliesTo:  hasContainerdUnit,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			svc, err := n.service(containerdUnit)
			if err != nil || svc.TasksMax.Value == "infinity" {
				return nil, err
			}
			return []Finding{unitSetting(svc, svc.TasksMax, "TasksMax=infinity", "infinity")}, nil
		},
	}
}
