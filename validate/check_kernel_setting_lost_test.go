package validate

func kernelSettingLostFixtures() []fixture {
	const forward, bridge = "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/bridge/bridge-nf-call-iptables"
	return []fixture{
		{name: "good", running: machine{forward: "1\n", bridge: "1\n"}},
		{name: "off", running: machine{forward: "0\n", bridge: "1\n"}, want: []expect{{Fail, forward, 0, "net.ipv4.ip_forward", "0"}}},
		{name: "no module", running: machine{forward: "1\n"}, want: []expect{{Fail, bridge, 0, "net.bridge.bridge-nf-call-iptables", "br_netfilter is not loaded"}}},
		{name: "an image", want: []expect{{Skip, "", 0, "", "only a running node"}}},
	}
}
