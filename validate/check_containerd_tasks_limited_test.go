package validate

func containerdTasksLimitedFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "a number", node: tree{dropIn: service("TasksMax=4915")}, want: []expect{{Warn, dropIn, 2, "TasksMax", "4915"}}},
		{name: "the default", node: tree{dropIn: service("TasksMax=")}, want: []expect{{Warn, goodUnit, 0, "TasksMax", "not set"}}},
	}
}
