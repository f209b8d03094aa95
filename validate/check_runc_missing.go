package validate

import (
	"context"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func runcMissing() Check {
	return Check{
		ID:         "runc-missing",
		Title:      "the runc that a containerd handler starts is not there",
		Why:        `Every pod fails with: exec: "runc": executable file not found in $PATH. containerd itself starts, and the node becomes ready.`,
		Reads:      "BinaryName of each runc handler, and PATH",
		Scope:      "nodes with containerd whose CRI loads",
		Fix:        "install runc, or set BinaryName to where it is",
		Severity:   Error,
		References: []string{"https://github.com/containerd/containerd/blob/main/docs/getting-started.md#step-2-installing-runc"},
		AppliesTo:  withCRI,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.containerd()
			if err != nil {
				return nil, err
			}
			copies, err := n.runcs()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, r := range copies {
				if ok, err := n.exists(r.Path); err != nil {
					return nil, err
				} else if ok && strings.HasPrefix(r.Path, "/") {
					continue
				}
				h := c.Handlers[r.Handlers[0]]
				f := Finding{Key: h.BinaryName.Key, Got: r.Path + " for " + handlerName(c, h) + " is not there", Want: "a program"}
				pos := h.BinaryName.Pos
				if pos.IsDefault() {
					f.Key, pos = "PATH", source.Position{File: "/usr/local/sbin/runc"}
				}
				found = append(found, f.at(pos))
			}
			return found, nil
		},
	}
}
