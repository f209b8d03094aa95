package validate

func containerdOOMKillableFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "zero", node: tree{dropIn: service("OOMScoreAdjust=0")}, want: []expect{{Warn, dropIn, 2, "OOMScoreAdjust", "=0"}}},
		{name: "not set", node: tree{dropIn: service("OOMScoreAdjust=")}, want: []expect{{Warn, goodUnit, 0, "OOMScoreAdjust", "not set"}}},
	}
}
