package validate

func containerdConfigVersionOldFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "version 2", node: withContainerd("1.7.24", goodV2)},
		{name: "no file", node: withContainerd("2.3.7", ""), want: []expect{{Skip, "", 0, "", "no configuration file"}}},
		{name: "no version", node: withContainerd("2.3.7", "root = \"/var/lib/containerd\"\n"), want: []expect{{Warn, config, 0, "version", "no version"}}},
		{name: "version 1", node: withContainerd("1.7.24", "# old\nversion = 1\n"), want: []expect{{Warn, config, 2, "version", "version = 1"}}},
	}
}
