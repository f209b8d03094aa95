package validate

func profileOSDiffersFixtures() []fixture {
	return []fixture{
		unlisted(),
		{name: "good", profile: someProfile(nil)},
		{name: "Debian 12", profile: someProfile(nil), node: tree{"/etc/os-release": lines("ID=debian", `VERSION_ID="12"`)}, want: []expect{{Fail, "/etc/os-release", 2, "VERSION_ID", "12"}}},
		{name: "no version", profile: someProfile(nil), node: tree{"/etc/os-release": lines("ID=debian")}, want: []expect{{Fail, "/etc/os-release", 0, "VERSION_ID", "not there"}}},
	}
}
