package validate

import "github.com/nodeimage/packer-plugin-nodeimage/profiles"

// hasProfile skips nodes that are compared with no profile.
func hasProfile(n *Node) (string, error) {
	if n.Profile == nil {
		return "no profile was named", nil
	}
	return "", nil
}

// installedBy lists the programs of a profile's component, by the name that
// the component has in profiles.
func installedBy(component string) []string {
	switch component {
	case "kubernetes":
		return []string{"kubelet", "kubeadm", "kubectl"}
	case "containerd":
		return []string{"containerd"}
	}
	return nil // runc and the CNI plugins are found by containerd's configuration
}

// wantedVersion is a component's version as its programs say it.
func wantedVersion(c profiles.Component) string { return plain(c.Version) }
