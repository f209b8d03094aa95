package validate

import (
	"context"
	"slices"
	"strings"
)

func hostnameFixed() Check {
	return Check{
		ID:         "hostname-fixed",
		Title:      "every machine made from the image has the same name",
		Why:        `The kubelet registers the node by its host name: the second machine takes over the first one's Node object.`,
		Reads:      "/etc/hostname",
		Scope:      "images, not running nodes",
		Fix:        "echo localhost > /etc/hostname; cloud-init or DHCP gives the name",
		Severity:   Warning,
		References: []string{"https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/#verify-mac-address", "https://www.freedesktop.org/software/systemd/man/latest/hostname.html"},
		AppliesTo:  (*Node).image,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			data, err := n.read("/etc/hostname")
			if err != nil {
				return nil, err
			}
			name := ""
			for l := range strings.Lines(string(data)) {
				if l = strings.TrimSpace(l); l != "" && l[0] != '#' {
					name = l
					break
				}
			}
			if slices.Contains([]string{"", "localhost", "localhost.localdomain", "localhost6"}, name) || strings.Contains(name, "?") {
				return nil, nil
			}
			return []Finding{{File: "/etc/hostname", Line: 1, Got: name, Want: "no name, or localhost"}}, nil
		},
	}
}
