package validate

import "context"

func containerdCRIBroken() Check {
	return Check{
		ID:    "containerd-cri-broken",
		Title: "containerd starts without its CRI plugin, since the plugin refuses its configuration",
		Why: `containerd goes on when a plugin fails to load. The kubelet then finds "unknown service
runtime.v1.RuntimeService" and never becomes ready. The old systemd_cgroup = true does this in 1.x, as do
mirrors beside config_path, and a default handler that is not there.`,
		Reads:      "containerd's effective CRI section",
		Scope:      "nodes with containerd",
		Fix:        "mend or remove the key",
		Severity:   Error,
		References: []string{"containerd/containerd#14121", "https://github.com/containerd/containerd/blob/v1.7.24/pkg/cri/config/config.go"},
		AppliesTo:  hasContainerd,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.containerd()
			if err != nil || c.Refusal != nil || c.CRIFault == nil {
				return nil, err
			}
			return []Finding{Finding{
				Key: c.CRIFault.Key, Got: c.CRIFault.Text,
				Want: "a CRI section that containerd " + c.Version.String() + " accepts",
			}.at(c.CRIFault.Pos)}, nil
		},
	}
}
