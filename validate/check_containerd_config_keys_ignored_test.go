package validate

func containerdConfigKeysIgnoredFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "the old section in a version 3 file, under 2.2", node: withContainerd("2.2.2", replace(goodV2, "version = 2", "version = 3")), want: []expect{
			{Fail, config, 4, `plugins."io.containerd.grpc.v1.cri".containerd`, ""},
			{Fail, config, 3, `plugins."io.containerd.grpc.v1.cri".sandbox_image`, ""},
		}},
		{name: "the new section in a version 2 file, under 1.7", node: withContainerd("1.7.24", replace(goodConfig, "version = 4", "version = 2")), want: []expect{
			{Fail, config, 5, `plugins."io.containerd.cri.v1.runtime"`, "does not say so"},
			{Fail, config, 3, `plugins."io.containerd.cri.v1.images"`, "does not say so"},
		}},
		{name: "a spelling mistake", node: withContainerd("2.3.7", replace(goodConfig, "  bin_dirs", "  bin_dirz")),
			want: []expect{{Fail, config, 13, `plugins."io.containerd.cri.v1.runtime".cni.bin_dirz`, ""}}},
	}
}
