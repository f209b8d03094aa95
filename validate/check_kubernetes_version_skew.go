package validate

import (
	"context"
	"errors"
	"fmt"
)

func kubernetesVersionSkew() Check {
	return Check{
		ID:    "kubernetes-version-skew",
		Title: "kubeadm, kubelet and kubectl do not go together",
		Why: `kubeadm refuses a kubelet that is newer than itself ("the kubelet version is higher than the control
plane version") or more than three minor releases older; kubectl supports one minor release either way.`,
		Reads:      "the versions stamped into kubeadm, kubelet and kubectl",
		Scope:      "nodes with kubeadm and a kubelet",
		Fix:        "install kubeadm, kubelet and kubectl of one release, and hold the packages",
		Severity:   Error,
		References: []string{"https://kubernetes.io/releases/version-skew-policy/", "https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/create-cluster-kubeadm/#version-skew-policy"},
		AppliesTo: func(n *Node) (string, error) {
			for _, name := range []string{"kubeadm", "kubelet"} {
				if p, err := n.program(name); err != nil {
					return "", err
				} else if plain(p.Version) == "" {
					return fmt.Sprintf("the version of %s cannot be told", p.Path), nil
				}
			}
			return "", nil
		},
		Run: runKubernetesVersionSkew,
	}
}

func runKubernetesVersionSkew(_ context.Context, n *Node) ([]Finding, error) {
	kubeadm, err := n.program("kubeadm")
	if err != nil {
		return nil, err
	}
	kubelet, err := n.program("kubelet")
	if err != nil {
		return nil, err
	}
	var found []Finding
	behind := minor(kubeadm.Version) - minor(kubelet.Version)
	if compare(kubelet.Version, kubeadm.Version) > 0 || behind > 3 {
		found = append(found, Finding{File: kubelet.Path, Key: "version", Got: "kubelet " + kubelet.Version,
			Want: "at most kubeadm's " + kubeadm.Version + ", and at least three minor releases before"})
	}
	kubectl, err := n.program("kubectl")
	if errors.Is(err, errAbsent) {
		return found, nil
	}
	if err != nil {
		return nil, err
	}
	if d := minor(kubectl.Version) - minor(kubeadm.Version); plain(kubectl.Version) != "" && (d > 1 || d < -1) {
		found = append(found, Finding{File: kubectl.Path, Key: "version", Got: "kubectl " + kubectl.Version,
			Want: "within one minor release of kubeadm's " + kubeadm.Version, Severity: Warning})
	}
	return found, nil
}

// minor is the second number of a version, -1 if it is none.
func minor(version string) int {
	var major, m int
	if _, err := fmt.Sscanf(plain(version), "%d.%d.", &major, &m); err != nil {
		return -1
	}
	return m
}
