package validate

import (
	"context"
	"fmt"
)

func containerdCRIDisabled() Check {
	return Check{
		ID:    "containerd-cri-disabled",
		Title: "containerd's CRI plugin is disabled: the kubelet finds no runtime",
		Why: `Docker's containerd.io package ships a config.toml whose one live line is disabled_plugins = ["cri"].
The kubelet then says: validate CRI v1 runtime API … unknown service runtime.v1.RuntimeService.`,
		Reads:      "disabled_plugins in containerd's effective configuration",
		Scope:      "nodes with containerd",
		Fix:        "remove cri from disabled_plugins",
		Severity:   Error,
		References: []string{"containerd/containerd#14121", "https://github.com/docker/packaging/blob/main/pkg/containerd/common/containerd.toml"},
		AppliesTo:  hasContainerd,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.containerd()
			if err != nil || c.CRIDisabled == nil {
				return nil, err
			}
			return []Finding{Finding{
				Key: "disabled_plugins", Got: fmt.Sprintf("%q", c.CRIDisabled.Value), Want: "no CRI plugin in the list",
				Fix: fmt.Sprintf("sed -i '/^disabled_plugins/d' %s\nsystemctl restart containerd", c.CRIDisabled.Pos.File),
			}.at(c.CRIDisabled.Pos)}, nil
		},
	}
}
