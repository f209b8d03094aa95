package validate

func packagesBrokenFixtures() []fixture {
	return []fixture{
		{name: "good", node: fromPackage("kubelet", "1.37.2-1.1", "hold", "/usr/bin/kubelet")},
		{name: "half configured", node: tree{"/var/lib/dpkg/status": lines("Package: cloud-init", "Status: install ok half-configured", "Architecture: all", "Version: 25.1")},
			want: []expect{{Fail, "/var/lib/dpkg/status", 0, "cloud-init", "half-configured"}}},
		{name: "no dpkg", want: []expect{{Skip, "", 0, "", "no dpkg"}}},
	}
}
