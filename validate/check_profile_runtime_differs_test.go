package validate

func profileRuntimeDiffersFixtures() []fixture {
	const section = `plugins."io.containerd.cri.v1.runtime".`
	extra := tree{"/etc/containerd/conf.d/99-nvidia.toml": lines("version = 3", "[plugins.'io.containerd.cri.v1.runtime'.containerd]", "default_runtime_name = 'nvidia'",
		"[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia]", "runtime_type = 'io.containerd.runc.v2'",
		"[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia.options]", "SystemdCgroup = true")}
	return []fixture{
		unlisted(),
		{name: "good", profile: someProfile(nil)},
		{name: "a drop-in", profile: someProfile(nil), node: extra, want: []expect{
			{Fail, "/etc/containerd/conf.d/99-nvidia.toml", 3, section + "containerd.default_runtime_name", "nvidia"},
			{Fail, "/etc/containerd/conf.d/99-nvidia.toml", 4, section + "containerd.runtimes.nvidia", "handler nvidia of type io.containerd.runc.v2"},
		}},
		{name: "runc by its name", profile: someProfile(nil), node: withContainerd("2.3.7", replace(goodConfig, "/usr/local/sbin/runc", "runc")),
			want: []expect{{Fail, config, 10, section + "containerd.runtimes.runc.options.BinaryName", "runc"}}},
	}
}
