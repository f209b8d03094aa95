package validate

func containerdReplacedFixtures() []fixture {
	return []fixture{
		{name: "good", running: up(nil)},
		{name: "upgraded", running: up(machine{"/proc/100/exe": "-> /usr/local/bin/containerd (deleted)"}), want: []expect{{Warn, "/usr/local/bin/containerd", 0, "process 100", "replaced"}}},
	}
}
