package validate

func sshRootLoginFixtures() []fixture {
	const main, early = "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/10-early.conf"
	yes := lines("Include /etc/ssh/sshd_config.d/*.conf", "PermitRootLogin yes", "Match User nobody", "  PermitEmptyPasswords yes")
	return []fixture{
		{name: "good", node: tree{main: lines("Include /etc/ssh/sshd_config.d/*.conf", "#PermitRootLogin yes")}},
		{name: "good, an earlier file wins", node: tree{main: yes, early: lines("PermitRootLogin prohibit-password")}},
		{name: "yes", node: tree{main: yes}, want: []expect{{Warn, main, 2, "PermitRootLogin", "yes"}}},
		{name: "yes in an include", node: tree{main: lines("Include sshd_config.d/*.conf"), early: lines("permitemptypasswords yes")}, want: []expect{{Warn, early, 1, "PermitEmptyPasswords", "yes"}}},
		{name: "no server", want: []expect{{Skip, "", 0, "", "no SSH server"}}},
	}
}
