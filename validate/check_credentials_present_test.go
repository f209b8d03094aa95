package validate

func credentialsPresentFixtures() []fixture {
	return []fixture{
		{name: "good", node: tree{"/etc/environment": lines("http_proxy=http://proxy.example:3128"), "/etc/default/example": lines("# http://user:secret@proxy.example")}},
		{name: "a registry's login", node: tree{"/root/.docker/config.json": moded(0o600, "{}")}, want: []expect{{Fail, "/root/.docker/config.json", 0, "", "credentials"}}},
		{name: "a proxy's password", node: tree{"/etc/environment": lines("PATH=/usr/bin", "https_proxy=http://user:secret@proxy.example:3128")}, want: []expect{{Fail, "/etc/environment", 2, "http://…@", "password"}}},
	}
}
