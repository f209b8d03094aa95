package validate

func runcBPFCorruptionFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "old runc, old kernel", node: withRunc("1.3.6")},
		{name: "old runc on 6.17", node: withRunc("1.3.6").and(onKernel("6.17.0-8-generic")), want: []expect{{Fail, "/usr/local/sbin/runc", 0, "version", "6.17.0-8-generic"}}},
		{name: "old runc on 7.2", node: withRunc("1.3.6").and(onKernel("7.2.1"))},
		{name: "new runc on 6.17", node: onKernel("6.17.0-8-generic")},
	}
}
