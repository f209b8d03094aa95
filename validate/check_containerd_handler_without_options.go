package validate

import (
	"context"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/containerd"
)

func containerdHandlerWithoutOptions() Check {
	return Check{
		ID:    "containerd-handler-without-options",
		Title: "a runc handler has no options table, so containerd cannot tell its cgroup driver",
		Why: `Asked for the cgroup driver, containerd 2 skips handlers without options and answers with the next
one that has some. The kubelet follows that answer while pods of this handler run on cgroupfs: a live
mismatch that the automatic detection makes instead of curing.`,
		Reads:      "each runc handler of containerd's effective configuration",
		Scope:      "nodes with containerd 2 or later",
		Fix:        "give every runc handler an options table with SystemdCgroup = true",
		Severity:   Error,
		References: []string{"kubernetes/enhancements#4033", "containerd/containerd#8722"},
		AppliesTo: func(n *Node) (string, error) {
			if reason, err := withCRI(n); reason != "" || err != nil {
				return reason, err
			}
			if c, err := n.containerd(); err != nil {
				return "", err
			} else if !c.Version.AtLeast(2, 0, 0) {
				return "containerd " + c.Version.String() + " does not answer RuntimeConfig", nil
			}
			return "", nil
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.containerd()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, name := range c.HandlerNames() {
				h := c.Handlers[name]
				if h.Type.Value != containerd.TypeRuncV2 || h.HasOptions {
					continue
				}
				f := handlerFinding(c, h)
				f.Key = handlerPath(c, h) + ".options"
				f.Got, f.Want = "no options for "+handlerName(c, h), "an options table with SystemdCgroup = true"
				found = append(found, f)
			}
			return found, nil
		},
	}
}
