package validate

func hostnameFixedFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "no file", node: tree{"/etc/hostname": nil}},
		{name: "a template of systemd's", node: tree{"/etc/hostname": lines("node-????")}},
		{name: "the builder's", node: tree{"/etc/hostname": lines("build-host-7")}, want: []expect{{Warn, "/etc/hostname", 1, "", "build-host-7"}}},
	}
}
