package validate

func runcOlderThanTestedFixtures() []fixture {
	const v2 = "version = 2\n"
	return []fixture{
		{name: "good"},
		{name: "newer is fine", node: withContainerd("2.0.14", "version = 3\n")},
		{name: "1.3 with containerd 2.3", node: withRunc("1.3.6"), want: []expect{{Warn, "/usr/local/sbin/runc", 0, "version", "runc 1.3.6"}}},
		{name: "1.1 with containerd 1.7.18", node: withContainerd("1.7.18", v2).and(withRunc("1.1.15"))},
		{name: "1.1 with containerd 1.7.24", node: withContainerd("1.7.24~ds1", v2).and(withRunc("1.1.15+ds1")),
			want: []expect{{Warn, "/usr/local/sbin/runc", 0, "version", "runc 1.1.15"}}},
		{name: "1.2 with containerd 1.7.24", node: withContainerd("1.7.24", v2).and(withRunc("1.2.9"))},
		{name: "1.2 with containerd 1.7.28", node: withContainerd("1.7.28", v2).and(withRunc("1.2.9")),
			want: []expect{{Warn, "/usr/local/sbin/runc", 0, "version", "runc 1.2.9"}}},
	}
}
