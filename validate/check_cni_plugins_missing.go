package validate

import (
	"context"
	"path"
	"strings"
)

func cniPluginsMissing() Check {
	return Check{
		ID:    "cni-plugins-missing",
		Title: "containerd looks for CNI plugins where they are not",
		Why: `Debian's containerd looks in /usr/lib/cni, the package kubernetes-cni and most CNI add-ons install into
/opt/cni/bin. Pods stay in ContainerCreating: failed to find plugin "loopback" in path.`,
		Reads:      "the CNI directories of containerd's effective configuration, and what is in them",
		Scope:      "nodes with containerd whose CRI loads",
		Fix:        "install the CNI plugins into the directory that containerd names, or name theirs",
		Severity:   Error,
		References: []string{"https://github.com/containerd/containerd/blob/main/docs/cri/config.md", "https://github.com/containernetworking/plugins"},
		AppliesTo:  withCRI,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.containerd()
			if err != nil {
				return nil, err
			}
			dirs := c.CNIBinDirs.Value
			var missing []string
			for _, name := range []string{"loopback", "bridge", "host-local", "portmap"} {
				there := false
				for _, d := range dirs {
					ok, err := n.exists(path.Join(d, name))
					if err != nil {
						return nil, err
					}
					there = there || ok
				}
				if !there {
					missing = append(missing, name)
				}
			}
			if len(missing) == 0 {
				return nil, nil
			}
			f := Finding{File: c.Path, Key: c.CNIBinDirs.Key, Got: "no " + strings.Join(missing, ", ") + " in " + strings.Join(dirs, ", "), Want: "loopback, bridge, host-local and portmap there"}
			if f.Key == "" {
				f.Key, f.Got = "cni.bin_dir", f.Got+" (containerd's default)"
			} else {
				f = f.at(c.CNIBinDirs.Pos)
			}
			for _, other := range []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"} {
				if ok, err := n.exists(path.Join(other, missing[0])); err != nil {
					return nil, err
				} else if ok {
					f.Got += "; they are in " + other
				}
			}
			return []Finding{f}, nil
		},
	}
}
