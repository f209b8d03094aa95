package validate

import "context"

func containerdNotEnabled() Check {
	return Check{
		ID:         "containerd-not-enabled",
		Title:      "containerd does not start at boot",
		Why:        `kubeadm's preflight finds no CRI socket, and a node that was rebooted has no pods.`,
		Reads:      "containerd.service, its links and masks",
		Scope:      "nodes with containerd",
		Fix:        "systemctl enable containerd.service",
		Severity:   Error,
		References: []string{"https://kubernetes.io/docs/setup/production-environment/container-runtimes/#containerd"},
		AppliesTo: func(n *Node) (string, error) {
			_, err := n.program("containerd")
			return "", err
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) { return n.notStarted(containerdUnit) },
	}
}
