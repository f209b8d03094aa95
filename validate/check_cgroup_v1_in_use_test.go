package validate

func cgroupV1InUseFixtures() []fixture {
	return []fixture{
		{name: "good", running: up(nil)},
		{name: "v1", running: machine{"/sys/fs/cgroup/memory/tasks": "1\n"}, want: []expect{{Fail, "/sys/fs/cgroup", 0, "cgroup.controllers", "cgroup v1"}}},
		{name: "no cgroups", running: machine{}, want: []expect{{Skip, "", 0, "", "no cgroups"}}},
	}
}
