package validate

func runcOlderThanTestedFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "newer is fine", node: withContainerd("2.0.14", "version = 3\n")},
		{name: "1.3 with containerd 2.3", node: withRunc("1.3.6"), want: []expect{{Warn, "/usr/local/sbin/runc", 0, "version", "runc 1.3.6"}}},
	}
}
