package validate

func cniConfigPresentFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "only a README", node: tree{"/etc/cni/net.d/README": file("")}},
		{name: "podman's", node: tree{"/etc/cni/net.d/87-podman-bridge.conflist": file("{}")}, want: []expect{{Warn, "/etc/cni/net.d/87-podman-bridge.conflist", 0, "", "network"}}},
	}
}
