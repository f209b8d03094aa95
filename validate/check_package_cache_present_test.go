package validate

func packageCachePresentFixtures() []fixture {
	return []fixture{
		{name: "good", node: tree{"/var/lib/apt/lists/partial": directory(0o700), "/var/cache/apt/archives/lock": file("")}},
		{name: "lists", node: tree{"/var/lib/apt/lists/deb.debian.org_dists_trixie_InRelease": lines("Origin: Debian")}, want: []expect{{Warn, "/var/lib/apt/lists/deb.debian.org_dists_trixie_InRelease", 0, "", "list"}}},
	}
}
