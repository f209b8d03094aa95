package validate

func apparmorUnixSocketsDeniedFixtures() []fixture {
	return []fixture{
		{name: "good, a new containerd", node: onKernel("6.17.9")},
		{name: "an old kernel", want: []expect{{Skip, "", 0, "", "no kernel of 6.17"}}},
		{name: "1.7.24 on 6.17", node: withContainerd("1.7.24", goodV2).and(onKernel("6.17.9")),
			want: []expect{{Fail, "/usr/local/bin/containerd", 0, "version", "kernel 6.17.9"}}},
		{name: "no AppArmor", node: withContainerd("1.7.24", goodV2).and(onKernel("6.17.9")).with("/usr/sbin/apparmor_parser", nil),
			want: []expect{{Skip, "", 0, "", "no apparmor_parser"}}},
	}
}
