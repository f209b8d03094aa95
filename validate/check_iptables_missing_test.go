package validate

func iptablesMissingFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "an alternative", node: tree{"/usr/sbin/iptables": link("/etc/alternatives/iptables"), "/etc/alternatives/iptables": link("/usr/sbin/iptables-nft"), "/usr/sbin/iptables-nft": exe("nft")}},
		{name: "not there", node: tree{"/usr/sbin/iptables": nil}, want: []expect{{Fail, "/usr/sbin/iptables", 0, "", "not there"}}},
		{name: "a link to nowhere", node: tree{"/usr/sbin/iptables": link("/usr/sbin/xtables-nft-multi")}, want: []expect{{Fail, "/usr/sbin/iptables", 0, "", "not there"}}},
		{name: "no kubelet", node: tree{"/usr/sbin/iptables": nil, "/usr/bin/kubelet": nil, "/usr/lib/systemd/system/kubelet.service": nil}, want: []expect{{Skip, "", 0, "", "kubelet is not installed"}}},
	}
}
