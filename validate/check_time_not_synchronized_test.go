package validate

func timeNotSynchronizedFixtures() []fixture {
	const wants = "/etc/systemd/system/sysinit.target.wants/systemd-timesyncd.service"
	return []fixture{
		{name: "good"},
		{name: "chrony", node: tree{wants: nil,
			"/usr/lib/systemd/system/chrony.service":                     lines("[Service]", "ExecStart=/usr/sbin/chronyd", "[Install]", "WantedBy=multi-user.target"),
			"/etc/systemd/system/multi-user.target.wants/chrony.service": link("/usr/lib/systemd/system/chrony.service")}},
		{name: "disabled", node: tree{wants: nil}, want: []expect{{Warn, "/etc/systemd/system", 0, "systemd-timesyncd.service", "does not start"}}},
		{name: "none", node: tree{wants: nil, "/usr/lib/systemd/system/systemd-timesyncd.service": nil}, want: []expect{{Warn, "/etc/systemd/system", 0, "systemd-timesyncd.service", "no time service"}}},
	}
}
