package validate

import "context"

func kernelModuleMissing() Check {
	return Check{
		ID:    "kernel-module-missing",
		Title: "a kernel of the image lacks a module that containers or CNI plugins need",
		Why: `Minimal kernels leave modules out, or into a package of their own (linux-modules-extra). Without overlay
no container starts, without veth and bridge no pod has a network.`,
		Reads:      "modules.dep and modules.builtin of each kernel",
		Scope:      "nodes with a kernel",
		Fix:        "install the distribution's full kernel, or its package of extra modules",
		Severity:   Error,
		References: []string{"flannel-io/flannel#2068", "https://github.com/kubernetes/system-validators"},
		AppliesTo: func(n *Node) (string, error) {
			c, err := n.modules()
			if err == nil && len(c.Kernels) == 0 {
				return "there is no kernel in it", nil
			}
			return "", err
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.modules()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, k := range c.Kernels {
				for _, m := range []string{"overlay", "br_netfilter", "veth", "bridge", "nf_conntrack"} {
					if k.Has(m) == "" {
						found = append(found, Finding{File: k.Dir, Key: m, Got: "kernel " + k.Release + " does not have it", Want: m + " as a module or built in"})
					}
				}
			}
			return found, nil
		},
	}
}
