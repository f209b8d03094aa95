package validate

func kubeletConfigKeysIgnoredFixtures() []fixture {
	return []fixture{
		{name: "good", node: tree{kubeletFile: kubeletConfig("failSwapOn: true")}},
		{name: "a spelling mistake", node: tree{kubeletFile: kubeletConfig("failSwapOn: true", "failSwapOnn: false")},
			want: []expect{{Warn, kubeletFile, 5, "failSwapOnn", "does not read"}}},
	}
}
