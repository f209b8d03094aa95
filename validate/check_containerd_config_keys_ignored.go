package validate

import "context"

func containerdConfigKeysIgnored() Check {
	return Check{
		ID:    "containerd-config-keys-ignored",
		Title: "containerd ignores keys of its configuration",
		Why: `A key in the section of another configuration version, below another plugin, or with a spelling
mistake has no effect, and most releases do not say so. SystemdCgroup under the section of containerd 2
does nothing in 1.7, the section of 1.7 does nothing in a version 3 file of 2.0 to 2.2, and a drop-in of
1.x replaces the whole CRI section of the main file.`,
		Reads:      "every key of containerd's configuration and of its imports",
		Scope:      "nodes with containerd",
		Fix:        "move the key to where this containerd reads it; containerd config dump shows what counts",
		Severity:   Error,
		References: []string{"https://github.com/containerd/containerd/blob/main/docs/cri/config.md", "NVIDIA/nvidia-docker#1788"},
		AppliesTo:  hasContainerd,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.containerd()
			if err != nil || c.Refusal != nil {
				return nil, err
			}
			var found []Finding
			for _, i := range c.Ignored {
				got := i.Reason
				if i.Logged {
					got += " (containerd warns in its log)"
				}
				found = append(found, Finding{
					Key: i.Key, Got: got, Want: "only keys that containerd " + c.Version.String() + " reads there",
				}.at(i.Pos))
			}
			return found, nil
		},
	}
}
