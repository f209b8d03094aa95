package validate

func containerdKillModeFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "a drop-in takes it back", node: tree{dropIn: service("KillMode=mixed")}, want: []expect{{Fail, dropIn, 2, "KillMode", "KillMode=mixed"}}},
		{name: "the default", node: tree{dropIn: service("KillMode=")}, want: []expect{{Fail, goodUnit, 0, "KillMode", "default control-group"}}},
		{name: "no unit", node: tree{goodUnit: nil}, want: []expect{{Skip, "", 0, "", "containerd.service is not-found"}}},
	}
}
