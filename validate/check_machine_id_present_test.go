package validate

func machineIDPresentFixtures() []fixture {
	id := lines("0123456789abcdef0123456789abcdef")
	return []fixture{
		{name: "good"},
		{name: "no file", node: tree{"/etc/machine-id": nil}},
		{name: "uninitialized", node: tree{"/etc/machine-id": lines("uninitialized")}},
		{name: "an ID", node: tree{"/etc/machine-id": id}, want: []expect{{Fail, "/etc/machine-id", 1, "", "an ID (0123…)"}}},
		{name: "an ID of D-Bus", node: tree{"/var/lib/dbus/machine-id": id}, want: []expect{{Fail, "/var/lib/dbus/machine-id", 1, "", "an ID"}}},
		{name: "a running node", node: tree{"/etc/machine-id": id}, running: machine{}, want: []expect{{Skip, "", 0, "", "running node"}}},
	}
}
