package validate

func ipForwardDisabledFixtures() []fixture {
	const key = "net.ipv4.ip_forward"
	return []fixture{
		{name: "good"},
		{name: "nothing sets it", node: tree{"/etc/sysctl.d/90-nodeimage.conf": nil}, want: []expect{{Fail, "/etc/sysctl.d", 0, key, "not set"}}},
		{name: "a later file takes it back", node: tree{"/etc/sysctl.d/99-hardening.conf": lines("# CIS", "net.ipv4.ip_forward = 0")},
			want: []expect{{Fail, "/etc/sysctl.d/99-hardening.conf", 2, key, "0"}}},
		{name: "only in a file that Debian 13 does not read", node: tree{"/etc/sysctl.d/90-nodeimage.conf": nil, "/etc/sysctl.conf": lines("net.ipv4.ip_forward=1")},
			want: []expect{{Fail, "/etc/sysctl.conf", 1, key, "does not read"}}},
	}
}
