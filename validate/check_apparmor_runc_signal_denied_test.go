package validate

func apparmorRuncSignalDeniedFixtures() []fixture {
	const profile = "/etc/apparmor.d/runc"
	inSbin := tree{"/usr/local/sbin/runc": nil, "/usr/sbin/runc": exe("runc")}
	v2 := "version = 2\n"
	return []fixture{
		{name: "good, a fixed containerd"},
		{name: "good, runc outside of the profile", node: withContainerd("1.7.15", goodV2)},
		{name: "1.7.15 and runc in /usr/sbin", node: inSbin.and(withContainerd("1.7.15", v2)),
			want: []expect{{Fail, profile, 3, "profile runc", `/usr/sbin/runc runs with the label "runc"`}}},
		{name: "fixed, runc in /usr/sbin", node: inSbin.and(withContainerd("1.7.18", v2))},
		{name: "noble attaches to /usr/sbin only, Docker's runc is in /usr/bin", node: withContainerd("1.7.12", v2).and(tree{
			"/usr/local/sbin/runc": nil, "/usr/bin/runc": exe("runc"), profile: runcProfile("/usr/sbin/runc")})},
		{name: "a link into the profile's path", node: withContainerd("1.7.15", goodV2).and(tree{"/usr/local/sbin/runc": link("/usr/bin/runc"), "/usr/bin/runc": exe("runc")}),
			want: []expect{{Fail, profile, 3, "profile runc", "/usr/local/sbin/runc runs with"}}},
		{name: "the profile is disabled", node: inSbin.and(withContainerd("1.7.15", v2)).with("/etc/apparmor.d/disable/runc", link("/etc/apparmor.d/runc"))},
		{name: "AppArmor 3 has no such profile", node: inSbin.and(withContainerd("1.6.20", v2)).with(profile, nil)},
		{name: "no parser, nothing is loaded", node: inSbin.and(withContainerd("1.7.15", v2)).with("/usr/sbin/apparmor_parser", nil),
			want: []expect{{Skip, "", 0, "", "no apparmor_parser"}}},
	}
}
