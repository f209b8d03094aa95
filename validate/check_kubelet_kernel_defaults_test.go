package validate

func kubeletKernelDefaultsFixtures() []fixture {
	protect := kubeletConfig("protectKernelDefaults: true")
	right := []string{"vm.overcommit_memory = 1", "kernel.panic = 10", "kernel.panic_on_oops = 1", "kernel.keys.root_maxkeys = 1000000", "kernel.keys.root_maxbytes = 25000000"}
	const conf = "/etc/sysctl.d/91-kubelet.conf"
	return []fixture{
		{name: "good", node: tree{kubeletFile: protect, conf: lines(right...)}},
		{name: "not asked for", want: []expect{{Skip, "", 0, "", "is off"}}},
		{name: "one is wrong, one is missing", node: tree{kubeletFile: protect, conf: lines(append(right[2:], "vm.overcommit_memory = 0")...)}, want: []expect{
			{Fail, conf, 4, "vm.overcommit_memory", "0"},
			{Fail, "/etc/sysctl.d", 0, "kernel.panic", "not set"},
		}},
	}
}
