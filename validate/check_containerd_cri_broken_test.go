package validate

func containerdCRIBrokenFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "systemd_cgroup under 1.7", node: withContainerd("1.7.24", replace(goodV2, "  sandbox_image", "  systemd_cgroup = true\n  sandbox_image")),
			want: []expect{{Fail, config, 3, `plugins."io.containerd.grpc.v1.cri".systemd_cgroup`, "only works for runtime"}}},
		{name: "default handler that is not there", node: withContainerd("2.3.7", replace(goodConfig, "default_runtime_name = 'runc'", "default_runtime_name = 'nvidia'")),
			want: []expect{{Fail, config, 6, `plugins."io.containerd.cri.v1.runtime".containerd.default_runtime_name`, "no corresponding runtime"}}},
	}
}
