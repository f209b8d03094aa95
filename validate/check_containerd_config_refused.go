package validate

import "context"

func containerdConfigRefused() Check {
	return Check{
		ID:    "containerd-config-refused",
		Title: "containerd refuses its configuration and does not start",
		Why: `containerd stops at a configuration whose version is higher than it knows (a version 3 file under
1.7.17 and later 1.x, a version 4 file under 2.0 to 2.2), at TOML that it cannot read, and at a required
plugin that cannot load. Older 1.x releases take a version 3 file and ignore it in silence.`,
		Reads:      "containerd's configuration with its imports, as the installed release reads it",
		Scope:      "nodes with containerd",
		Fix:        "start from what this containerd writes itself: containerd config default",
		Severity:   Error,
		References: []string{"https://github.com/containerd/containerd/blob/main/docs/PLUGINS.md"},
		AppliesTo:  hasContainerd,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.containerd()
			if err != nil || c.Refusal == nil {
				return nil, err
			}
			return []Finding{Finding{
				Key: c.Refusal.Key, Got: c.Refusal.Text,
				Want: "a configuration that containerd " + c.Version.String() + " accepts",
			}.at(c.Refusal.Pos)}, nil
		},
	}
}

func hasContainerd(n *Node) (string, error) {
	_, err := n.containerd()
	return "", err
}
