package validate

func kubeletRuntimeEndpointWrongFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "good, written with /var/run", node: tree{kubeletFile: kubeletConfig("containerRuntimeEndpoint: unix:///var/run/containerd/containerd.sock")}},
		{name: "CRI-O's", node: tree{kubeletFile: kubeletConfig("containerRuntimeEndpoint: unix:///var/run/crio/crio.sock")},
			want: []expect{{Fail, kubeletFile, 4, "containerRuntimeEndpoint", "crio.sock"}}},
		{name: "a flag", node: tree{kubeletExtra: lines("KUBELET_EXTRA_ARGS=--container-runtime-endpoint=unix:///run/cri-dockerd.sock")},
			want: []expect{{Fail, kubeletExtra, 1, "--container-runtime-endpoint", "cri-dockerd"}}},
		{name: "containerd listens elsewhere", node: withContainerd("1.7.24", goodV2+"[grpc]\n  address = \"/run/c.sock\"\n"),
			want: []expect{{Fail, config, 10, "grpc.address", "/run/c.sock"}}},
	}
}
