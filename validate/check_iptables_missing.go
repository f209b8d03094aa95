package validate

import (
	"context"
	"strings"
)

func iptablesMissing() Check {
	return Check{
		ID:    "iptables-missing",
		Title: "the node has no iptables for the kubelet and the CNI plugins",
		Why: `kube-proxy brings iptables in its image, so the control plane comes up without it. The CNI plugins bridge
(ipMasq), portmap and firewall run the node's own and fail: exec: "iptables": executable file not found in
$PATH. The kubelet cannot place the rules that others hang theirs on, and says so in its log alone.`,
		Reads:      "the directories that services find programs in",
		Scope:      "nodes with a kubelet",
		Fix:        "apt-get install iptables",
		Severity:   Error,
		References: []string{"https://www.cni.dev/plugins/current/meta/portmap/", "kubernetes/kubernetes#82125"},
		AppliesTo:  readsKubelet,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			p, err := n.find("iptables")
			if err != nil || p != "" {
				return nil, err
			}
			return []Finding{{File: "/usr/sbin/iptables", Got: "not there, nor in another of " + strings.Join(searchPath(), ", "), Want: "iptables, from the package of that name"}}, nil
		},
	}
}
