package validate

func kernelModuleMissingFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "built in", node: onKernel("6.12.50")},
		{name: "a minimal kernel", node: tree{modulesDir + "/modules.dep": lines("kernel/fs/overlayfs/overlay.ko:", "kernel/net/bridge/bridge.ko:", "kernel/drivers/net/veth.ko:", "kernel/net/netfilter/nf_conntrack.ko:")},
			want: []expect{{Fail, modulesDir, 0, "br_netfilter", "6.12.48+deb13-amd64"}}},
		{name: "no kernel", node: tree{modulesDir: nil}, want: []expect{{Skip, "", 0, "", "no kernel"}}},
	}
}
