package validate

func cniPluginsMissingFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "Debian's directory", node: withContainerd("1.7.24", goodV2+"[plugins.\"io.containerd.grpc.v1.cri\".cni]\n  bin_dir = \"/usr/lib/cni\"\n"),
			want: []expect{{Fail, config, 10, `plugins."io.containerd.grpc.v1.cri".cni.bin_dir`, "they are in /opt/cni/bin"}}},
		{name: "Debian's default", node: withContainerd("1.7.24~ds1", goodV2), want: []expect{{Fail, config, 0, "cni.bin_dir", "in /usr/lib/cni (containerd's default)"}}},
		{name: "one is missing", node: tree{"/opt/cni/bin/portmap": nil}, want: []expect{{Fail, config, 13, `plugins."io.containerd.cri.v1.runtime".cni.bin_dirs`, "no portmap"}}},
	}
}
