package validate

import (
	"context"
	"path"
)

func cniPluginsOld() Check {
	return Check{
		ID:         "cni-plugins-old",
		Title:      "the CNI plugins are older than what containerd and Kubernetes are tested with",
		Why:        `Debian 13 and Ubuntu 24.04 ship 1.1.1. Kubernetes 1.37 is tested with 1.9.1, and containerd warns of releases before 1.9.0.`,
		Reads:      "the version of the loopback plugin that containerd finds first",
		Scope:      "nodes with containerd and CNI plugins of known version",
		Fix:        "install the current release of the CNI plugins",
		Severity:   Warning,
		References: []string{"https://github.com/kubernetes/kubernetes/blob/v1.37.2/build/dependencies.yaml", "https://github.com/containernetworking/plugins/releases"},
		AppliesTo: func(n *Node) (string, error) {
			if reason, err := withCRI(n); reason != "" || err != nil {
				return reason, err
			}
			p, err := n.loopback()
			if err == nil && plain(p.Version) == "" {
				return "the version of the CNI plugins cannot be told", nil
			}
			return "", err
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			p, err := n.loopback()
			floor := n.rules.Floors["cni-plugins"]
			if err != nil || compare(p.Version, floor.Version) >= 0 {
				return nil, err
			}
			return []Finding{{File: p.Path, Key: "version", Got: "CNI plugins " + p.Version, Want: floor.Version + " or later", See: n.rules.urls(floor.Sources)}}, nil
		},
	}
}

// loopback is the CNI plugin of that name, which stands for them all.
func (n *Node) loopback() (program, error) {
	c, err := n.containerd()
	if err != nil {
		return program{}, err
	}
	for _, d := range c.CNIBinDirs.Value {
		p := path.Join(d, "loopback")
		if ok, err := n.exists(p); err != nil {
			return program{}, err
		} else if ok {
			return n.programAt("loopback", p)
		}
	}
	return program{}, absent("there are no CNI plugins where containerd looks")
}
