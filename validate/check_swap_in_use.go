package validate

import (
	"context"
	"errors"
)

func swapInUse() Check {
	return Check{
		ID:         "swap-in-use",
		Title:      "the running node has swap on, with which the kubelet does not start",
		Why:        `What a boot turns on can be seen in the files; what somebody, or a cloud's agent, has turned on since can not.`,
		Reads:      "/proc/swaps, and the kubelet's failSwapOn",
		Scope:      "running nodes",
		Fix:        "swapoff -a",
		Severity:   Error,
		References: []string{"https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/#swap-configuration"},
		AppliesTo:  (*Node).running,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			k, err := n.kubelet()
			if err != nil && !errors.Is(err, errAbsent) {
				return nil, err
			}
			if err == nil && k.FailSwapOn.Key != "" && !k.FailSwapOn.Value {
				return nil, nil
			}
			all, err := n.Live.Swaps()
			if err != nil {
				return nil, missing(err, "the kernel has no swap")
			}
			var found []Finding
			for _, s := range all {
				found = append(found, Finding{File: "/proc/swaps", Key: s, Got: "in use", Want: "no swap"})
			}
			return found, nil
		},
	}
}
