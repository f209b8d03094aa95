package validate

import (
	"context"
	"fmt"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func kubeletContainerdIncompatible() Check {
	return Check{
		ID:    "kubelet-containerd-incompatible",
		Title: "the kubelet and containerd are no pair that upstream supports",
		Why: `containerd publishes which of its releases go with which Kubernetes. containerd 1.7 and older cannot tell
the kubelet their cgroup driver: kubelets to 1.37 fall back to their own setting, with a warning, and from
1.38 on they will refuse to start.`,
		Reads:      "the versions of kubelet and containerd, and containerd's support table",
		Scope:      "nodes with a kubelet and containerd",
		Fix:        "choose a pair of the table; Kubernetes 1.36 and 1.37 go with containerd 2.3",
		Severity:   Error,
		References: []string{"https://github.com/containerd/containerd/blob/main/RELEASES.md#kubernetes-support", "kubernetes/enhancements#4033"},
		AppliesTo: func(n *Node) (string, error) {
			reason, err := versionKnown("kubelet", "containerd")(n)
			if reason != "" || err != nil {
				return reason, err
			}
			k, err := n.program("kubelet")
			if err != nil {
				return "", err
			}
			if _, ok := n.compat.Kubernetes[branchOf(k.Version)]; !ok {
				return "nothing is known about Kubernetes " + branchOf(k.Version), nil
			}
			return "", nil
		},
		Run: runKubeletContainerdIncompatible,
	}
}

func runKubeletContainerdIncompatible(_ context.Context, n *Node) ([]Finding, error) {
	k, err := n.program("kubelet")
	if err != nil {
		return nil, err
	}
	c, err := n.program("containerd")
	if err != nil {
		return nil, err
	}
	pair, ok := n.compat.Kubernetes[branchOf(k.Version)].Containerd[branchOf(c.Version)]
	f := Finding{File: c.Path, Key: "version", Want: "a release that goes with kubelet " + k.Version, Severity: Warning}
	f.Got = fmt.Sprintf("containerd %s with kubelet %s", c.Version, k.Version)
	switch {
	case !ok:
		f.Got += ", a pair that upstream's table does not have"
	case pair.Verdict == profiles.Refused:
		f.Got, f.Severity = f.Got+", which does not run", Error
	case pair.Verdict == profiles.Fallback:
		f.Got += ": the kubelet cannot ask for the cgroup driver, and from 1.38 on it refuses to run"
	case pair.From != "" && compare(c.Version, pair.From) < 0:
		f.Want = "containerd " + pair.From + " or later, the first of its branch in upstream's table"
	default:
		return nil, nil
	}
	return []Finding{f}, nil
}
