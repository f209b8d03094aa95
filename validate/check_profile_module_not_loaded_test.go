package validate

func profileModuleNotLoadedFixtures() []fixture {
	return []fixture{
		unlisted(),
		{name: "good", profile: someProfile(nil)},
		{name: "not named", profile: someProfile(nil), node: tree{"/etc/modules-load.d/90-nodeimage.conf": lines("overlay")}, want: []expect{{Fail, "/etc/modules-load.d", 0, "br_netfilter", "nothing loads it"}}},
	}
}
