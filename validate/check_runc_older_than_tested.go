package validate

import (
	"context"
	"fmt"
)

func runcOlderThanTested() Check {
	return Check{
		ID:         "runc-older-than-tested",
		Title:      "runc is older than what containerd was tested with",
		Why:        `containerd asks for the runc of its own tests or a later one. What it relies on may not be there.`,
		Reads:      "the versions of containerd and of each runc that a handler starts",
		Scope:      "nodes with containerd and runc",
		Fix:        "install the runc that containerd's script/setup/runc-version names, or a later one",
		Severity:   Warning,
		References: []string{"https://github.com/containerd/containerd/blob/main/docs/RUNC.md"},
		AppliesTo:  hasRunc,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			p, err := n.program("containerd")
			if err != nil {
				return nil, err
			}
			b, ok := n.compat.Containerd[branchOf(p.Version)]
			if !ok {
				return nil, nil
			}
			want := n.rules.testedRunc(p.Version, b.Runc)
			return n.eachRunc(func(r runc) *Finding {
				if compare(branchOf(r.Version), want) >= 0 {
					return nil
				}
				return &Finding{Got: "runc " + r.Version, Want: fmt.Sprintf("runc %s or later, as containerd %s was tested with", want, plain(p.Version))}
			})
		},
	}
}
