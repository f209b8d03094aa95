package validate

import "context"

func brNetfilterNotLoaded() Check {
	return Check{
		ID:    "br-netfilter-not-loaded",
		Title: "br_netfilter is not loaded at boot, and flannel stops",
		Why: `kubeadm no longer checks for it (since 1.30), kube-proxy neither. flannel dies with: Failed to check
br_netfilter: stat /proc/sys/net/bridge/bridge-nf-call-iptables: no such file or directory. Without it,
Service traffic between pods of one node passes the bridge unseen by iptables.`,
		Reads:      "modules-load.d, modprobe.d and the modules of each kernel",
		Fix:        "echo br_netfilter > /etc/modules-load.d/br_netfilter.conf",
		Severity:   Error,
		References: []string{"flannel-io/flannel#2166", "kubernetes/kubernetes#123464"},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			return n.wantModule("br_netfilter")
		},
	}
}

// wantModule wants a kernel module to be loaded at each boot, or built in.
func (n *Node) wantModule(name string) ([]Finding, error) {
	c, err := n.modules()
	if err != nil {
		return nil, err
	}
	f := Finding{Key: name, Want: name + " loaded at boot", Fix: "echo " + name + " > /etc/modules-load.d/" + name + ".conf"}
	if e, blocked := c.Blocked(name); blocked {
		f.Got, f.Fix = "blocked: "+e.Command+" "+e.Module, "remove the line"
		return []Finding{f.at(e.Pos)}, nil
	}
	if _, ok := c.Loads(name); ok {
		return nil, nil
	}
	builtin := len(c.Kernels) > 0
	for _, k := range c.Kernels {
		builtin = builtin && k.Has(name) == "builtin"
	}
	if builtin {
		return nil, nil
	}
	f.Got, f.File = "nothing loads it", "/etc/modules-load.d"
	return []Finding{f}, nil
}
