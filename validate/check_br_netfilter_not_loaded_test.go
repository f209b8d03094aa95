package validate

func brNetfilterNotLoadedFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "nothing loads it", node: tree{"/etc/modules-load.d/90-nodeimage.conf": lines("overlay")},
			want: []expect{{Fail, "/etc/modules-load.d", 0, "br_netfilter", "nothing loads it"}}},
		{name: "blacklisted", node: tree{"/etc/modprobe.d/hardening.conf": lines("# CIS", "install br_netfilter /bin/true")},
			want: []expect{{Fail, "/etc/modprobe.d/hardening.conf", 2, "br_netfilter", "blocked"}}},
		{name: "built in", node: onKernel("6.12.50").with("/etc/modules-load.d/90-nodeimage.conf", nil)},
	}
}
