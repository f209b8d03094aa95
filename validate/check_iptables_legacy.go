package validate

import (
	"context"
	"path"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func iptablesLegacy() Check {
	return Check{
		ID:    "iptables-legacy",
		Title: "iptables on the node writes to the legacy tables",
		Why: `kube-proxy and CNI add-ons bring iptables with nf_tables in their images. Rules written half into the
legacy tables are evaluated twice: Services time out, and nobody sees why, since each tool shows its own
half.`,
		Reads:      "the alternatives of iptables, ip6tables, arptables and ebtables",
		Fix:        "update-alternatives --set iptables /usr/sbin/iptables-nft\nupdate-alternatives --set ip6tables /usr/sbin/ip6tables-nft",
		Severity:   Error,
		References: []string{"kubernetes/kubernetes#71305", "kubernetes/kubernetes#109811", "kubernetes/kubernetes#112477"},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			var found []Finding
			for _, name := range []string{"iptables", "ip6tables", "arptables", "ebtables"} {
				p := "/etc/alternatives/" + name
				target, ok := source.Link(n.Root, p)
				if !ok || !strings.Contains(path.Base(target), "legacy") {
					continue
				}
				f := Finding{File: p, Key: name, Got: target, Want: "/usr/sbin/" + name + "-nft", Fix: "update-alternatives --set " + name + " /usr/sbin/" + name + "-nft"}
				if name == "arptables" || name == "ebtables" {
					f.Severity = Warning
				}
				found = append(found, f)
			}
			return found, nil
		},
	}
}
