package validate

// fromPackage makes a package own files of the good node.
func fromPackage(name, version, want string, files ...string) tree {
	return tree{
		"/var/lib/dpkg/status":                 lines("Package: "+name, "Status: "+want+" ok installed", "Architecture: amd64", "Version: "+version),
		"/var/lib/dpkg/info/" + name + ".list": lines(files...),
	}
}

func packagesNotHeldFixtures() []fixture {
	return []fixture{
		{name: "good", node: fromPackage("kubelet", "1.37.2-1.1", "hold", "/usr/bin/kubelet")},
		{name: "not held", node: fromPackage("kubelet", "1.37.2-1.1", "install", "/usr/bin/kubelet"), want: []expect{{Warn, "/var/lib/dpkg/status", 0, "kubelet", "1.37.2-1.1"}}},
		{name: "no packages", want: []expect{{Skip, "", 0, "", "no component"}}},
	}
}
