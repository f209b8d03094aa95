package validate

func containerdDropinsNotReadFixtures() []fixture {
	dropin := lines("version = 3")
	return []fixture{
		{name: "good"},
		{name: "imported", node: tree{"/etc/containerd/conf.d/10-nvidia.toml": dropin}},
		{name: "no imports line", node: withContainerd("2.3.7", replace(goodConfig, "imports = ['/etc/containerd/conf.d/*.toml']\n", "")).with("/etc/containerd/conf.d/10-nvidia.toml", dropin),
			want: []expect{{Fail, "/etc/containerd/conf.d/10-nvidia.toml", 0, "imports", "not imported by /etc/containerd/config.toml"}}},
		{name: "no main file", node: withContainerd("2.3.7", "").with("/etc/containerd/conf.d/10-nvidia.toml", dropin),
			want: []expect{{Fail, "/etc/containerd/conf.d/10-nvidia.toml", 0, "imports", "there is no /etc/containerd/config.toml"}}},
		{name: "the wrong directory", node: tree{"/etc/containerd/config.d/99-nvidia.toml": dropin},
			want: []expect{{Fail, "/etc/containerd/config.d/99-nvidia.toml", 0, "imports", "not imported"}}},
	}
}
