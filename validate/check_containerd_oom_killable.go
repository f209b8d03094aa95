package validate

import (
	"context"
	"strconv"
)

func containerdOOMKillable() Check {
	return Check{
		ID:    "containerd-oom-killable",
		Title: "the kernel may kill containerd when memory runs out",
		Why: `When pods use up the node's memory, the kernel picks by score. containerd must not be the victim: no pod
can be stopped or started without it.`,
		Reads:      "OOMScoreAdjust of containerd.service with its drop-ins",
		Scope:      "nodes with containerd.service",
		Fix:        "OOMScoreAdjust=-999 in containerd.service",
		Severity:   Warning,
		References: []string{"https://github.com/containerd/containerd/blob/main/containerd.service", "https://github.com/containerd/containerd/blob/main/docs/ops.md#systemd"},
		AppliesTo:  hasContainerdUnit,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			svc, err := n.service(containerdUnit)
			if err != nil {
				return nil, err
			}
			if score, err := strconv.Atoi(svc.OOMScoreAdjust.Value); err == nil && score <= -900 {
				return nil, nil
			}
			return []Finding{unitSetting(svc, svc.OOMScoreAdjust, "OOMScoreAdjust=-999", "-999")}, nil
		},
	}
}
