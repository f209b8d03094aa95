package validate

import (
	"context"
	"fmt"
)

func kubernetesEndOfLife() Check {
	return Check{
		ID:         "kubernetes-end-of-life",
		Title:      "the kubelet's minor release gets no more fixes",
		Why:        `Kubernetes mends each minor release for fourteen months. Holes found later stay open.`,
		Reads:      "the kubelet's version and upstream's table of releases",
		Scope:      "nodes with a kubelet",
		Fix:        "move to a supported minor release",
		Severity:   Warning,
		References: []string{"https://kubernetes.io/releases/"},
		AppliesTo:  versionKnown("kubelet"),
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			p, err := n.program("kubelet")
			if err != nil {
				return nil, err
			}
			b, ok := n.compat.Kubernetes[branchOf(p.Version)]
			if !ok || string(b.EndOfLife) >= n.today() {
				return nil, nil
			}
			return []Finding{{File: p.Path, Key: "version", Got: fmt.Sprintf("kubelet %s, whose release ended on %s", p.Version, b.EndOfLife), Want: "a release that is supported"}}, nil
		},
	}
}
