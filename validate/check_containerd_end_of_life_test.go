package validate

func containerdEndOfLifeFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "2.2 ended in November", node: withContainerd("2.2.9", "version = 3\n"), want: []expect{{Warn, "/usr/local/bin/containerd", 0, "version", "ended on 2026-11-06"}}},
		{name: "2.0 is kept to March", node: withContainerd("2.0.14", "version = 3\n")},
	}
}
