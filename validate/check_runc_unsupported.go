package validate

import (
	"context"
	"fmt"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func runcUnsupported() Check {
	return Check{
		ID:         "runc-unsupported",
		Title:      "runc's branch gets no more fixes upstream",
		Why:        `runc mends the newest branch, the one before for significant bugs, and the one before that for severe holes only; older ones get nothing.`,
		Reads:      "the version of each runc that a handler starts, and upstream's policy",
		Scope:      "nodes with containerd and runc",
		Fix:        "move to a supported branch of runc",
		Severity:   Warning,
		References: []string{"https://github.com/opencontainers/runc/blob/main/RELEASES.md"},
		AppliesTo:  hasRunc,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			return n.eachRunc(func(r runc) *Finding {
				b, ok := n.compat.Runc[branchOf(r.Version)]
				if !ok || b.Support != "none" {
					return nil
				}
				return &Finding{Got: fmt.Sprintf("runc %s, whose branch is no longer mended", r.Version), Want: "runc " + lowestSupported(n.compat) + " or later"}
			})
		},
	}
}

// eachRunc judges each runc of known version.
func (n *Node) eachRunc(judge func(runc) *Finding) ([]Finding, error) {
	copies, err := n.runcs()
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, r := range copies {
		if plain(r.Version) == "" {
			continue
		}
		if f := judge(r); f != nil {
			f.File, f.Key = r.Path, "version"
			found = append(found, *f)
		}
	}
	return found, nil
}

func lowestSupported(c *profiles.Compatibility) string {
	lowest := ""
	for name, b := range c.Runc {
		if b.Support != "none" && (lowest == "" || compare(name, lowest) < 0) {
			lowest = name
		}
	}
	return lowest
}
