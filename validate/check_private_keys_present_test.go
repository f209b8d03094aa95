package validate

func privateKeysPresentFixtures() []fixture {
	// Split, so that scanners do not take the fixture for a key.
	key := "-----BEGIN " + "OPENSSH PRIVATE " + "KEY-----\nabc\n"
	return []fixture{
		{name: "good", node: tree{"/etc/ssl/certs/ca.pem": lines("-----BEGIN CERTIFICATE-----"), "/root/.ssh/id_ed25519.pub": lines("ssh-ed25519 AAAA"), "/etc/apt/trusted.gpg.d/x.key": lines("public")}},
		{name: "a user's", node: tree{"/home/packer/.ssh/id_ed25519": moded(0o600, key)}, want: []expect{{Fail, "/home/packer/.ssh/id_ed25519", 1, "", "private key"}}},
		{name: "behind a certificate", node: tree{"/etc/ssl/private/server.pem": moded(0o600, "-----BEGIN CERTIFICATE-----\nabc\n"+key)}, want: []expect{{Fail, "/etc/ssl/private/server.pem", 3, "", "private key"}}},
		{name: "a key store", node: tree{"/opt/app/store.p12": moded(0o600, "binary")}, want: []expect{{Fail, "/opt/app/store.p12", 0, "", "key store"}}},
		{name: "SSH host keys have their own check", node: tree{"/etc/ssh/ssh_host_rsa_key": moded(0o600, key)}},
	}
}
