package validate

func containerdNotRestartedFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "after a failure", node: tree{dropIn: service("Restart=on-failure")}},
		{name: "never", node: tree{dropIn: service("Restart=no")}, want: []expect{{Warn, dropIn, 2, "Restart", "Restart=no"}}},
	}
}
