package validate

import (
	"context"
	"fmt"
)

func criDriverMismatch() Check {
	return Check{
		ID:    "cri-driver-mismatch",
		Title: "the running containerd answers with another cgroup driver than the kubelet is configured for",
		Why: `The answer of RuntimeConfig is what the kubelet follows. An answer of cgroupfs beside cgroupDriver: systemd
means two cgroup managers on the node; a configuration file that was mended does not count until containerd
is restarted.`,
		Reads:      "RuntimeConfig of the CRI, asked over containerd's socket, and the kubelet's configuration",
		Scope:      "running nodes with containerd",
		Fix:        "set SystemdCgroup = true for every runc handler, then: systemctl restart containerd kubelet",
		Severity:   Error,
		References: []string{"kubernetes/enhancements#4033", "kubernetes/kubernetes#110177"},
		AppliesTo:  func(n *Node) (string, error) { return n.runs("containerd") },
		Run: func(ctx context.Context, n *Node) ([]Finding, error) {
			socket := "/run/containerd/containerd.sock"
			if c, err := n.containerd(); err == nil && c.Address.Value != "" {
				socket = c.Address.Value
			}
			answer, err := n.Live.CRI(ctx, socket)
			if err != nil {
				return nil, missing(err, "nothing answers")
			}
			if answer.Disabled {
				return []Finding{{File: socket, Key: "runtime.v1.RuntimeService", Got: "no CRI behind the socket", Want: "containerd's CRI", Fix: "see nodeimage explain containerd-cri-disabled"}}, nil
			}
			if answer.Driver == "" {
				return nil, absent("%s %s does not implement RuntimeConfig", answer.Name, answer.Version)
			}
			k, err := n.kubeletDriver()
			if err != nil || k.driver == answer.Driver {
				return nil, err
			}
			return []Finding{{File: socket, Key: "RuntimeConfig", Got: fmt.Sprintf("%s %s answers %s", answer.Name, answer.Version, answer.Driver),
				Want: fmt.Sprintf("%s, as the kubelet (%s)", k.driver, k.because)}}, nil
		},
	}
}
