package validate

func containerdConfigRefusedFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "version 4 under 2.2", node: withContainerd("2.2.9", goodConfig), want: []expect{{Fail, config, 1, "version", "got `4`"}}},
		{name: "version 3 under 1.7", node: withContainerd("1.7.24", "version = 3\n"), want: []expect{{Fail, config, 1, "version", "version `3`"}}},
		{name: "no TOML", node: withContainerd("2.3.7", "version = 3\n[plugins\n"), want: []expect{{Fail, config, 2, "", "toml"}}},
	}
}
