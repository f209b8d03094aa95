package validate

import (
	"context"
	"fmt"
)

func containerdEndOfLife() Check {
	return Check{
		ID:         "containerd-end-of-life",
		Title:      "containerd's branch gets no more fixes upstream",
		Why:        `Holes found from now on stay open in this branch, unless the distribution mends them. The image's life is longer than its build.`,
		Reads:      "containerd's version and upstream's table of branches",
		Scope:      "nodes with containerd",
		Fix:        "move to a supported branch; 2.3 is the one with long-term support, to 2028-04-30",
		Severity:   Warning,
		References: []string{"https://github.com/containerd/containerd/blob/main/RELEASES.md"},
		AppliesTo:  versionKnown("containerd"),
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			p, err := n.program("containerd")
			if err != nil {
				return nil, err
			}
			b, ok := n.compat.Containerd[branchOf(p.Version)]
			if !ok || string(b.EndOfLife) >= n.today() {
				return nil, nil
			}
			return []Finding{{File: p.Path, Key: "version", Got: fmt.Sprintf("containerd %s, whose branch ended on %s", p.Version, b.EndOfLife), Want: "a branch that is supported"}}, nil
		},
	}
}
