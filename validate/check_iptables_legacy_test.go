package validate

func iptablesLegacyFixtures() []fixture {
	return []fixture{
		{name: "good", node: tree{"/etc/alternatives/iptables": link("/usr/sbin/iptables-nft"), "/etc/alternatives/ip6tables": link("/usr/sbin/ip6tables-nft")}},
		{name: "legacy", node: tree{"/etc/alternatives/iptables": link("/usr/sbin/iptables-legacy"), "/etc/alternatives/ebtables": link("/usr/sbin/ebtables-legacy")}, want: []expect{
			{Fail, "/etc/alternatives/iptables", 0, "iptables", "iptables-legacy"}, {Warn, "/etc/alternatives/ebtables", 0, "ebtables", "ebtables-legacy"}}},
	}
}
