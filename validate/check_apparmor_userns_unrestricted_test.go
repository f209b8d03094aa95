package validate

func apparmorUsernsUnrestrictedFixtures() []fixture {
	const conf, key = "/etc/sysctl.d/99-browser.conf", "kernel.apparmor_restrict_unprivileged_userns"
	return []fixture{
		{name: "good"},
		{name: "kept by Ubuntu", node: tree{"/usr/lib/sysctl.d/10-apparmor.conf": lines(key + " = 1")}},
		{name: "lifted", node: tree{"/usr/lib/sysctl.d/10-apparmor.conf": lines(key + " = 1"), conf: lines("# for the browser", key+"=0")},
			want: []expect{{Warn, conf, 2, key, "0"}}},
		{name: "lifted and put back", node: tree{conf: lines(key + "=0"), "/etc/sysctl.d/99-node.conf": lines(key + "=1")}},
	}
}
