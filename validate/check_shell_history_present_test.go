package validate

func shellHistoryPresentFixtures() []fixture {
	return []fixture{
		{name: "good", node: tree{"/root/.bashrc": lines("alias ll='ls -l'")}},
		{name: "root's", node: tree{"/root/.bash_history": moded(0o600, "kubeadm join --token x")}, want: []expect{{Warn, "/root/.bash_history", 0, "", "history"}}},
		{name: "a user's", node: tree{"/home/packer/.python_history": lines("1")}, want: []expect{{Warn, "/home/packer/.python_history", 0, "", "history"}}},
	}
}
