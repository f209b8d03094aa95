package validate

import "context"

func containerdVulnerable() Check {
	return Check{
		ID:         "containerd-vulnerable",
		Title:      "containerd has known holes",
		Why:        `The rules list the holes of containerd and the first release of each branch without them, with their sources and dates.`,
		Reads:      "containerd's version, from the program itself, and the package that it comes from",
		Scope:      "nodes with containerd",
		Fix:        "upgrade containerd",
		Severity:   Error,
		References: []string{"https://github.com/containerd/containerd/security/advisories"},
		AppliesTo:  versionKnown("containerd"),
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			p, err := n.program("containerd")
			if err != nil {
				return nil, err
			}
			return n.vulnerable(p)
		},
	}
}
