package validate

import (
	"context"
)

func kubeletKernelDefaults() Check {
	return Check{
		ID:    "kubelet-kernel-defaults",
		Title: "the kubelet protects kernel defaults that the node does not have, and does not start",
		Why: `With protectKernelDefaults the kubelet sets nothing itself and exits when a value differs: invalid kernel
flag: vm/overcommit_memory, expected value: 1, actual value: 0. Hardening guides turn it on and forget the
sysctls.`,
		Reads:      "the kubelet's protectKernelDefaults and the sysctl.d directories",
		Scope:      "nodes whose kubelet has protectKernelDefaults",
		Fix:        "set the values in /etc/sysctl.d, or protectKernelDefaults: false",
		Severity:   Error,
		References: []string{"https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/kubelet/cm/container_manager_linux.go", "https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/"},
		AppliesTo: func(n *Node) (string, error) {
			k, err := n.kubelet()
			if err == nil && !k.ProtectKernelDefaults.Value {
				return "protectKernelDefaults is off", nil
			}
			return "", err
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			var found []Finding
			for _, want := range [][2]string{
				{"vm.overcommit_memory", "1"}, {"vm.panic_on_oom", "0"}, {"kernel.panic", "10"}, {"kernel.panic_on_oops", "1"},
				{"kernel.keys.root_maxkeys", "1000000"}, {"kernel.keys.root_maxbytes", "25000000"},
			} {
				f, err := n.wantSysctl(want[0], want[1])
				if err != nil {
					return nil, err
				}
				if c, err := n.sysctls(); err != nil {
					return nil, err
				} else if _, set := c.Get(want[0]); !set && want[0] == "vm.panic_on_oom" {
					continue // the kernel's own default
				}
				found = append(found, f...)
			}
			return found, nil
		},
	}
}
