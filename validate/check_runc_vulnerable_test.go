package validate

func runcVulnerableFixtures() []fixture {
	const path = "/usr/local/sbin/runc"
	debian := func(version string) tree {
		return fromPackage("runc", version, "install", path).with(fragment("runc"), nil)
	}
	return []fixture{
		{name: "good"},
		{name: "the last 1.4", node: withRunc("1.4.3")},
		{name: "1.1.11", node: withRunc("1.1.11"), want: []expect{{Fail, path, 0, "version", "CVE-2024-21626"}}},
		{name: "1.2.7", node: withRunc("1.2.7"), want: []expect{{Fail, path, 0, "version", "CVE-2025-31133"}}},
		{name: "only a low one", node: withRunc("1.4.2"), want: []expect{{Warn, path, 0, "version", "CVE-2026-41579"}}},
		{name: "Debian 13's, which has none of the fixes", node: debian("1.1.15+ds1-2+b4"), want: []expect{{Fail, path, 0, "version", "CVE-2025-31133"}}},
		{name: "another package of an old version", node: debian("1.2.7-0example1"), want: []expect{{Warn, path, 0, "version", "may carry fixes"}}},
		{name: "unknown", node: tree{fragment("runc"): nil}, want: []expect{{Skip, "", 0, "", "can be told"}}},
	}
}
