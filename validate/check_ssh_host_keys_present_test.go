package validate

func sshHostKeysPresentFixtures() []fixture {
	return []fixture{
		{name: "good", node: tree{"/etc/ssh/sshd_config": lines("Include /etc/ssh/sshd_config.d/*.conf")}},
		{name: "a key", node: tree{"/etc/ssh/ssh_host_ed25519_key": moded(0o600, "secret"), "/etc/ssh/ssh_host_ed25519_key.pub": file("public")},
			want: []expect{{Fail, "/etc/ssh/ssh_host_ed25519_key", 0, "", "private host key"}}},
	}
}
