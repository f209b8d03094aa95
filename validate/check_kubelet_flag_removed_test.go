package validate

func kubeletFlagRemovedFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "flags that stay", node: tree{kubeletExtra: lines("KUBELET_EXTRA_ARGS=--node-ip=192.0.2.1 --v=2")}},
		{name: "the pause image", node: tree{kubeletExtra: lines("# pause", `KUBELET_EXTRA_ARGS="--pod-infra-container-image=registry.k8s.io/pause:3.9"`)},
			want: []expect{{Fail, kubeletExtra, 2, "--pod-infra-container-image", "since 1.35"}}},
		{name: "the pause image, one release before", node: tree{
			fragment("kubernetes"): recorded("kubernetes", "1.34.3", "/usr/bin/kubelet"),
			kubeletExtra:           lines("KUBELET_EXTRA_ARGS=--pod-infra-container-image=registry.k8s.io/pause:3.9"),
		}, want: []expect{{Warn, kubeletExtra, 1, "--pod-infra-container-image", "loses with 1.35"}}},
		{name: "unknown", node: tree{kubeletExtra: lines("KUBELET_EXTRA_ARGS=--cgroup-drvier=systemd")},
			want: []expect{{Fail, kubeletExtra, 1, "--cgroup-drvier", "no kubelet"}}},
	}
}
