package validate

func runcWithoutSeccompFixtures() []fixture {
	with := func(tags string) tree {
		return tree{"/usr/local/sbin/runc": exe(goProgram("github.com/opencontainers/runc", "v1.5.2", "-tags="+tags))}
	}
	return []fixture{
		{name: "good", node: with("seccomp,apparmor")},
		{name: "without", node: with("apparmor"), want: []expect{{Fail, "/usr/local/sbin/runc", 0, "-tags", "apparmor"}}},
		{name: "crun, or a build without a record", want: []expect{{Skip, "", 0, "", "records its build tags"}}},
	}
}
