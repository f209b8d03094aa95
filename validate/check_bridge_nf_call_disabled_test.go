package validate

func bridgeNfCallDisabledFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "off", node: tree{"/etc/sysctl.d/99-libvirt.conf": lines("net.bridge.bridge-nf-call-iptables = 0", "net/bridge/bridge-nf-call-ip6tables = 0")}, want: []expect{
			{Fail, "/etc/sysctl.d/99-libvirt.conf", 1, "net.bridge.bridge-nf-call-iptables", "0"},
			{Fail, "/etc/sysctl.d/99-libvirt.conf", 2, "net.bridge.bridge-nf-call-ip6tables", "0"},
		}},
	}
}
