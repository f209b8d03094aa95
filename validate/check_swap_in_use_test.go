package validate

func swapInUseFixtures() []fixture {
	const header = "Filename\tType\tSize\tUsed\tPriority\n"
	on := machine{"/proc/swaps": header + "/swapfile\tfile\t1048572\t0\t-2\n"}
	return []fixture{
		{name: "good", running: machine{"/proc/swaps": header}},
		{name: "on", running: on, want: []expect{{Fail, "/proc/swaps", 0, "/swapfile", "in use"}}},
		{name: "the kubelet is told to live with it", running: on, node: tree{kubeletFile: kubeletConfig("failSwapOn: false")}},
	}
}
