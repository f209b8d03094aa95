package validate

import (
	"context"
	"path"
	"slices"
)

func cniConfigPresent() Check {
	return Check{
		ID:    "cni-config-present",
		Title: "the image brings a CNI configuration of its own",
		Why: `containerd takes the first file of the directory, so a podman or CRI-O package's bridge wins over the
cluster's network: the node is Ready at once, and pods of different nodes have the same addresses.`,
		Reads:      "the CNI configuration directory of containerd's effective configuration",
		Scope:      "images with containerd, not running nodes",
		Fix:        "remove the files; the cluster's CNI add-on writes its own",
		Severity:   Warning,
		References: []string{"https://github.com/containerd/containerd/blob/main/docs/cri/config.md", "https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/network-plugins/"},
		AppliesTo: func(n *Node) (string, error) {
			if reason, _ := n.image(); reason != "" {
				return reason, nil
			}
			return withCRI(n)
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.containerd()
			if err != nil {
				return nil, err
			}
			entries, err := n.list(c.CNIConfDir.Value)
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, e := range entries {
				if slices.Contains([]string{".conf", ".conflist", ".json"}, path.Ext(e.Name())) {
					p := path.Join(c.CNIConfDir.Value, e.Name())
					found = append(found, Finding{File: p, Got: "a network of the image's own", Want: "an empty directory", Fix: "rm " + p})
				}
			}
			return found, nil
		},
	}
}
