package validate

func profileSysctlDiffersFixtures() []fixture {
	return []fixture{
		unlisted(),
		{name: "good", profile: someProfile(nil)},
		{name: "a later file", profile: someProfile(nil), node: tree{"/etc/sysctl.d/99-x.conf": lines("net.ipv4.ip_forward=0")}, want: []expect{{Fail, "/etc/sysctl.d/99-x.conf", 1, "net.ipv4.ip_forward", "0"}}},
	}
}
