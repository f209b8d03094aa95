package validate

import "context"

func kernelTooOld() Check {
	return Check{
		ID:         "kernel-too-old",
		Title:      "the kernel is older than what kubeadm knows",
		Why:        `kubeadm's preflight warns about kernels before 5.4; cgroup v2 and what the kubelet uses of it are incomplete there.`,
		Reads:      "the versions of the installed kernels",
		Scope:      "nodes with a kernel",
		Fix:        "install the distribution's current kernel",
		Severity:   Warning,
		References: []string{"https://github.com/kubernetes/system-validators", "https://kubernetes.io/docs/reference/node/kernel-version-requirements/"},
		AppliesTo:  hasKernel,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			releases, err := n.kernels()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, r := range releases {
				if floor := n.rules.Floors["kernel"].Version; compare(r, floor) < 0 {
					found = append(found, Finding{File: "/lib/modules/" + r, Key: "version", Got: "kernel " + r, Want: floor + " or later"})
				}
			}
			return found, nil
		},
	}
}

func hasKernel(n *Node) (string, error) {
	_, err := n.kernels()
	return "", err
}
