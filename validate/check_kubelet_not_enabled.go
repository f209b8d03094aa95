package validate

import "context"

func kubeletNotEnabled() Check {
	return Check{
		ID:    "kubelet-not-enabled",
		Title: "the kubelet does not start at boot",
		Why: `kubeadm starts the kubelet once, so the cluster comes up; after the first reboot the node stays NotReady.
kubeadm's preflight only warns: kubelet service is not enabled.`,
		Reads:      "kubelet.service, its links and masks",
		Scope:      "nodes with a kubelet",
		Fix:        "systemctl enable kubelet.service",
		Severity:   Error,
		References: []string{"https://github.com/kubernetes/kubernetes/blob/v1.37.2/cmd/kubeadm/app/preflight/checks.go"},
		AppliesTo:  hasKubelet,
		Run:        func(_ context.Context, n *Node) ([]Finding, error) { return n.notStarted("kubelet.service") },
	}
}

func hasKubelet(n *Node) (string, error) {
	_, err := n.program("kubelet")
	return "", err
}

func readsKubelet(n *Node) (string, error) {
	_, err := n.kubelet()
	return "", err
}
