package validate

import "github.com/nodeimage/packer-plugin-nodeimage/profiles"

func profilePackageMissingFixtures() []fixture {
	p := someProfile(func(p *profiles.Profile) { p.Packages.Include = map[string][]string{"security": {"apparmor"}} })
	status := func(state string) tree {
		return tree{"/var/lib/dpkg/status": lines("Package: apparmor", "Status: "+state, "Architecture: amd64", "Version: 4.1.0-1")}
	}
	return []fixture{
		unlisted(),
		{name: "good", profile: p, node: status("install ok installed")},
		{name: "removed", profile: p, node: status("deinstall ok config-files"), want: []expect{{Fail, "/var/lib/dpkg/status", 0, "apparmor", "not installed"}}},
	}
}
