package validate

func cniPluginsOldFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "Debian 13's", node: tree{fragment("cni-plugins"): recorded("cni-plugins", "1.1.1", "/opt/cni/bin/loopback")},
			want: []expect{{Warn, "/opt/cni/bin/loopback", 0, "version", "CNI plugins 1.1.1"}}},
		{name: "unknown", node: tree{fragment("cni-plugins"): nil}, want: []expect{{Skip, "", 0, "", "cannot be told"}}},
		{name: "none", node: tree{"/opt/cni": nil}, want: []expect{{Skip, "", 0, "", "no CNI plugins"}}},
	}
}
