package validate

func containerdLegacySystemdCgroupFixtures() []fixture {
	broken := replace(goodConfig, "[plugins.'io.containerd.cri.v1.runtime'.containerd]", "[plugins.'io.containerd.cri.v1.runtime']\nsystemd_cgroup = true\n[plugins.'io.containerd.cri.v1.runtime'.containerd]")
	return []fixture{
		{name: "good"},
		{name: "false does no harm", node: withContainerd("1.7.24", replace(goodV2, "  sandbox_image", "  systemd_cgroup = false\n  sandbox_image"))},
		{name: "under 2.3", node: withContainerd("2.3.7", broken),
			want: []expect{{Fail, config, 6, `plugins."io.containerd.cri.v1.runtime".systemd_cgroup`, "systemd_cgroup = true"}}},
		{name: "under 1.7", node: withContainerd("1.7.24", replace(goodV2, "  sandbox_image", "  systemd_cgroup = true\n  sandbox_image")),
			want: []expect{{Fail, config, 3, `plugins."io.containerd.grpc.v1.cri".systemd_cgroup`, ""}}},
	}
}
