package validate

func containerdDelegateMissingFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "a list of controllers", node: tree{dropIn: service("Delegate=cpu memory pids")}},
		{name: "off", node: tree{dropIn: service("Delegate=no")}, want: []expect{{Fail, dropIn, 2, "Delegate", "Delegate=no"}}},
	}
}
