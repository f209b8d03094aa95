package validate

import (
	"context"
)

func containerdHandlerBroken() Check {
	return Check{
		ID:    "containerd-handler-broken",
		Title: "no pod can start with one of containerd's handlers",
		Why: `containerd 1.x fills in nothing for a handler that a file mentions: with only an options table, as its
own documentation prints it, the handler has no runtime_type and every pod fails with "no runtime name".
Options of a wrong TOML type (SystemdCgroup = "true" in quotes) cannot be decoded.`,
		Reads:      "each handler of containerd's effective configuration",
		Scope:      "nodes with containerd whose CRI loads",
		Fix:        `give the handler runtime_type = "io.containerd.runc.v2" and options of the right type`,
		Severity:   Error,
		References: []string{"https://github.com/containerd/containerd/blob/main/docs/cri/config.md"},
		AppliesTo:  withCRI,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.containerd()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, name := range c.HandlerNames() {
				h := c.Handlers[name]
				if h.PodFault == "" {
					continue
				}
				f := handlerFinding(c, h)
				if !h.Pos.IsDefault() && h.SystemdCgroup.Type != "string" {
					f = f.at(h.Pos)
				}
				f.Key, f.Got, f.Want = h.Key, h.PodFault, "a handler that containerd can start"
				if f.Key == "" {
					f.Key = handlerPath(c, h)
				}
				found = append(found, f)
			}
			return found, nil
		},
	}
}
