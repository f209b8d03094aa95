package validate

func containerdCRIDisabledFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "another plugin is disabled", node: withContainerd("2.3.7", goodConfig[:12]+"disabled_plugins = ['io.containerd.snapshotter.v1.btrfs']\n"+goodConfig[12:])},
		{name: "as Docker's package ships it", node: withContainerd("2.3.7", "disabled_plugins = [\"cri\"]\n"),
			want: []expect{{Fail, config, 1, "disabled_plugins", "cri"}}},
		{name: "as Docker's package ships it, 1.7", node: withContainerd("1.7.27", "# comment\ndisabled_plugins = [\"cri\"]\n"),
			want: []expect{{Fail, config, 2, "disabled_plugins", "cri"}}},
	}
}
