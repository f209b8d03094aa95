package validate

func authorizedKeysPresentFixtures() []fixture {
	return []fixture{
		{name: "good", node: tree{"/root/.ssh/authorized_keys": moded(0o600, "")}},
		{name: "left behind", node: tree{"/root/.ssh/authorized_keys": moded(0o600, "ssh-ed25519 AAAA"), "/home/packer/.ssh/authorized_keys": moded(0o600, "ssh-ed25519 AAAA")}, want: []expect{
			{Fail, "/root/.ssh/authorized_keys", 0, "", "log in"}, {Fail, "/home/packer/.ssh/authorized_keys", 0, "", "log in"}}},
	}
}
