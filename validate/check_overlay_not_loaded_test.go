package validate

func overlayNotLoadedFixtures() []fixture {
	const load = "/etc/modules-load.d/90-nodeimage.conf"
	return []fixture{
		{name: "good"},
		{name: "good, by the unit", node: tree{load: lines("br_netfilter")}},
		{name: "by nobody", node: tree{load: nil, dropIn: service("ExecStartPre=")}, want: []expect{{Warn, "/etc/modules-load.d", 0, "overlay", "nothing loads it"}}},
		{name: "blacklisted", node: tree{"/etc/modprobe.d/cis.conf": lines("install overlay /bin/false")}, want: []expect{{Fail, "/etc/modprobe.d/cis.conf", 1, "overlay", "blocked"}}},
	}
}
