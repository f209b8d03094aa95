package validate

import (
	"context"
	"strings"
)

func runcBPFCorruption() Check {
	return Check{
		ID:    "runc-bpf-corruption",
		Title: "the kernel writes past a buffer of runc's, which then crashes at random",
		Why: `BPF_PROG_QUERY of kernels 6.17 to 7.1 writes out of bounds. runc asks it for the device rules of cgroup
v2; runc 1.5.2 works around it, kernel 7.2 has the fix.`,
		Reads:      "the versions of each runc that a handler starts and of each kernel",
		Scope:      "nodes with containerd, runc and a kernel",
		Fix:        "install runc 1.5.2 or later",
		Severity:   Error,
		References: []string{"opencontainers/runc#5403", "opencontainers/cgroups#69"},
		AppliesTo:  hasRunc,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			var failed error
			found, err := n.eachRunc(func(r runc) *Finding {
				rule, hit, err := n.kernelFault("runc-bpf-corruption", r.Version)
				if failed = err; err != nil || len(hit) == 0 {
					return nil
				}
				return &Finding{Got: "runc " + r.Version + " on kernel " + strings.Join(hit, ", "),
					Want: "runc " + rule.Fixed[0] + " or later, or a kernel before 6.17 or from 7.2 on"}
			})
			if err == nil {
				err = failed
			}
			return found, err
		},
	}
}
