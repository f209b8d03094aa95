package validate

func dhcpLeasesPresentFixtures() []fixture {
	return []fixture{
		{name: "good", node: tree{"/var/lib/dhcp": directory(0o755)}},
		{name: "dhclient's", node: tree{"/var/lib/dhcp/dhclient.eth0.leases": lines("lease {}")}, want: []expect{{Fail, "/var/lib/dhcp/dhclient.eth0.leases", 0, "", "lease"}}},
	}
}
