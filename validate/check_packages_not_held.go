package validate

import (
	"context"
	"fmt"
	"slices"
)

func packagesNotHeld() Check {
	return Check{
		ID:    "packages-not-held",
		Title: "an upgrade of the distribution takes a component of the node to another version",
		Why: `A kubelet that gets newer than the control plane is refused, and a new containerd may read the
configuration differently: Ubuntu 24.04 went from containerd 1.7 to 2.2 in its updates.`,
		Reads:      "dpkg's selections for the packages that brought kubelet, kubeadm, containerd and runc",
		Scope:      "nodes whose components come from packages",
		Fix:        "apt-mark hold kubelet kubeadm kubectl containerd runc",
		Severity:   Warning,
		References: []string{"https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/", "https://bugs.launchpad.net/ubuntu/+source/containerd/+bug/2127661"},
		AppliesTo: func(n *Node) (string, error) {
			all, err := n.componentPackages()
			if err == nil && len(all) == 0 {
				return "no component comes from a package", nil
			}
			return "", err
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			names, err := n.componentPackages()
			if err != nil {
				return nil, err
			}
			db, err := n.dpkg()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, name := range names {
				p, ok := db.Package(name)
				if !ok || p.Held() {
					continue
				}
				found = append(found, Finding{Key: name, Got: fmt.Sprintf("%s %s, which upgrades replace", name, p.Version), Want: "held", Fix: "apt-mark hold " + name}.at(p.Pos))
			}
			return found, nil
		},
	}
}

// componentPackages lists the packages that brought the node's components.
func (n *Node) componentPackages() ([]string, error) {
	var names []string
	for _, name := range []string{"kubelet", "kubeadm", "containerd", "runc"} {
		p, err := n.find(name)
		if err != nil {
			return nil, err
		}
		if p == "" {
			continue
		}
		pkg, err := n.packageOf(p)
		if err != nil {
			return nil, err
		}
		if pkg.Name != "" && !slices.Contains(names, pkg.Name) {
			names = append(names, pkg.Name)
		}
	}
	return names, nil
}
