package validate

import (
	"context"
	"slices"
)

func overlayNotLoaded() Check {
	return Check{
		ID:    "overlay-not-loaded",
		Title: "nothing loads overlay before containerd starts",
		Why: `containerd tests for overlayfs when it starts and goes on without its snapshotter if the test fails; no
image can then be unpacked. The modprobe in its unit is ignored when it fails.`,
		Reads:      "modules-load.d, modprobe.d, each kernel's modules and ExecStartPre of containerd.service",
		Fix:        "echo overlay > /etc/modules-load.d/overlay.conf",
		Severity:   Warning,
		References: []string{"https://github.com/containerd/containerd/blob/main/containerd.service", "https://kubernetes.io/docs/setup/production-environment/container-runtimes/"},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			found, err := n.wantModule("overlay")
			if err != nil || len(found) == 0 {
				return nil, err
			}
			c, err := n.modules()
			if err != nil {
				return nil, err
			}
			if _, blocked := c.Blocked("overlay"); blocked {
				found[0].Severity = Error
				return found, nil
			}
			svc, err := n.service(containerdUnit)
			if err != nil {
				return nil, err
			}
			for _, cmd := range svc.ExecStartPre {
				if slices.Contains(cmd.Args, "overlay") {
					return nil, nil
				}
			}
			return found, nil
		},
	}
}
