package validate

import (
	"context"
	"strings"
)

func kubeletConfigBroken() Check {
	return Check{
		ID:    "kubelet-config-broken",
		Title: "the kubelet does not start with its flags and configuration files",
		Why: `A configuration file of another kind, YAML that cannot be read, a missing drop-in directory, a required
environment file that is not there, or a flag with a bad value: the kubelet exits and systemd starts it
again, for ever. config.yaml itself may be missing in an image, and on a machine that is in no cluster yet, since
kubeadm writes it.`,
		Reads:      "the kubelet's command line, its configuration file and drop-ins",
		Scope:      "nodes with a kubelet",
		Fix:        "mend what the kubelet refuses",
		Severity:   Error,
		References: []string{"https://kubernetes.io/docs/tasks/administer-cluster/kubelet-config-file/"},
		AppliesTo:  readsKubelet,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			k, err := n.kubelet()
			if err != nil {
				return nil, err
			}
			waits, err := n.waitsForKubeadm()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, fault := range k.Faults {
				if strings.Contains(fault.Text, "unknown flag: --") {
					continue // kubelet-flag-removed
				}
				if fault.Key == "--config" && !k.Present && k.File.Value == "/var/lib/kubelet/config.yaml" && waits {
					continue
				}
				found = append(found, Finding{Key: fault.Key, Got: fault.Text, Want: "what kubelet " + k.Version.String() + " accepts"}.at(fault.Pos))
			}
			return found, nil
		},
	}
}

// waitsForKubeadm tells whether the node has no credentials of a cluster: neither
// kubeadm init nor kubeadm join was run on it, as on no image.
func (n *Node) waitsForKubeadm() (bool, error) {
	if n.Live == nil {
		return true, nil
	}
	for _, p := range []string{"/etc/kubernetes/kubelet.conf", "/etc/kubernetes/bootstrap-kubelet.conf"} {
		if there, err := n.exists(p); there || err != nil {
			return false, err
		}
	}
	return true, nil
}
