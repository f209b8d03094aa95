package validate

func cgroupDriverMismatchFixtures() []fixture {
	const (
		v3key = `plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options.SystemdCgroup`
		v2key = `plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options.SystemdCgroup`
	)
	kubeletSays := func(driver string) *entry {
		return lines("apiVersion: kubelet.config.k8s.io/v1beta1", "kind: KubeletConfiguration", "cgroupDriver: "+driver)
	}
	return []fixture{
		{name: "good 2.3"},
		{name: "good 1.7", node: withContainerd("1.7.24", goodV2)},
		{name: "1.7 without a file", node: withContainerd("1.7.24", ""),
			want: []expect{{Fail, config, 0, v2key, "cgroupfs for pods of handler runc (the default)"}}},
		{name: "2.3 without a file, the silent one", node: withContainerd("2.3.7", ""),
			want: []expect{{Fail, config, 0, v3key, "the kubelet follows"}}},
		{name: "false", node: withContainerd("2.3.7", replace(goodConfig, "SystemdCgroup = true", "SystemdCgroup = false")),
			want: []expect{{Fail, config, 11, `plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options.SystemdCgroup`, "cgroupfs"}}},
		{name: "a string", node: withContainerd("2.3.7", replace(goodConfig, "SystemdCgroup = true", `SystemdCgroup = "true"`)),
			want: []expect{{Fail, config, 11, `plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options.SystemdCgroup`, "is a TOML string"}}},
		{name: "a second handler", node: withContainerd("2.3.7", goodConfig+`
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia]
  runtime_type = 'io.containerd.runc.v2'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia.options]
    BinaryName = '/usr/bin/nvidia-container-runtime'
`), want: []expect{{Fail, config, 15, `plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nvidia.options.SystemdCgroup`, "cgroupfs for pods of handler nvidia"}}},
		{name: "no version and the section of version 2, under 2.2", node: withContainerd("2.2.2", replace(goodV2, "version = 2\n", "")),
			want: []expect{{Fail, config, 0, v3key, "cgroupfs"}}},
		{name: "the kubelet says cgroupfs under 1.7", node: withContainerd("1.7.24", goodV2).with("/var/lib/kubelet/config.yaml", kubeletSays("cgroupfs")),
			want: []expect{{Fail, "/var/lib/kubelet/config.yaml", 3, "cgroupDriver", "cgroupfs in the kubelet"}}},
		{name: "the kubelet says cgroupfs under 2.3, and follows to systemd", node: tree{"/var/lib/kubelet/config.yaml": kubeletSays("cgroupfs")}},
		{name: "both say cgroupfs", node: withContainerd("1.7.24", "version = 2\n").with("/var/lib/kubelet/config.yaml", kubeletSays("cgroupfs"))},
		{name: "no kubelet", node: withContainerd("1.7.24", "").with("/usr/bin/kubelet", nil).with("/usr/lib/systemd/system/kubelet.service", nil),
			want: []expect{{Fail, config, 0, v2key, "cgroupfs"}}},
		{name: "no containerd", node: tree{"/usr/local/bin/containerd": nil}, want: []expect{{Skip, "", 0, "", "containerd is not installed"}}},
		{name: "containerd without CRI", node: withContainerd("2.3.7", `disabled_plugins = ["cri"]`), want: []expect{{Skip, "", 0, "", "disabled"}}},
	}
}
