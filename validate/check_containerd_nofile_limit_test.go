package validate

func containerdNoFileLimitFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "not set", node: tree{dropIn: service("LimitNOFILE=")}},
		{name: "1048576", node: tree{dropIn: service("LimitNOFILE=1048576")}},
		{name: "1M", node: tree{dropIn: service("LimitNOFILE=1M")}},
		{name: "infinity", node: tree{dropIn: service("LimitNOFILE=infinity")}, want: []expect{{Warn, dropIn, 2, "LimitNOFILE", "1073741816"}}},
		{name: "low", node: tree{dropIn: service("LimitNOFILE=1024:4096")}, want: []expect{{Warn, dropIn, 2, "LimitNOFILE", "hard limit of 4096"}}},
		{name: "nonsense", node: tree{dropIn: service("LimitNOFILE=many")}, want: []expect{{Warn, dropIn, 2, "LimitNOFILE", "no limit"}}},
	}
}
