package validate

func runcUnsupportedFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "1.3 gets severe holes mended", node: withRunc("1.3.6")},
		{name: "1.1", node: withRunc("1.1.15"), want: []expect{{Warn, "/usr/local/sbin/runc", 0, "version", "no longer mended"}}},
	}
}
