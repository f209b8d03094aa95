package validate

import "context"

func dhcpLeasesPresent() Check {
	return Check{
		ID:         "dhcp-leases-present",
		Title:      "the image holds DHCP leases of the machine that it was built on",
		Why:        `Machines ask for the address of the building machine again, all for the same one.`,
		Reads:      "the state of dhclient, dhcpcd, NetworkManager and systemd-networkd",
		Scope:      "images, not running nodes",
		Fix:        "rm -f /var/lib/dhcp/* /var/lib/NetworkManager/*.lease /var/lib/systemd/network/*",
		Severity:   Error,
		References: []string{"canonical/lxd#8717", "aws/eks-anywhere#940"},
		AppliesTo:  (*Node).image,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			return n.leftovers("a lease", "none", "/var/lib/dhcp/*lease*", "/var/lib/dhclient/*lease*", "/var/lib/dhcpcd/*.lease*",
				"/var/lib/NetworkManager/*.lease", "/var/lib/NetworkManager/secret_key", "/var/lib/systemd/network/*")
		},
	}
}
