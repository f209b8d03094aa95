package validate

func kubeletContainerdIncompatibleFixtures() []fixture {
	const path = "/usr/local/bin/containerd"
	kubelet := func(v string) tree {
		return tree{fragment("kubernetes"): recorded("kubernetes", v, "/usr/bin/kubelet")}
	}
	return []fixture{
		{name: "good"},
		{name: "works, though the table does not have it", node: withContainerd("2.1.9", "version = 3\n")},
		{name: "1.7 falls back", node: withContainerd("1.7.35", goodV2), want: []expect{{Warn, path, 0, "version", "cannot ask"}}},
		{name: "1.6 with 1.37", node: withContainerd("1.6.39", goodV2), want: []expect{{Warn, path, 0, "version", "does not have"}}},
		{name: "a patch release too early", node: withContainerd("2.1.2", "version = 3\n").and(kubelet("1.34.3")), want: []expect{{Warn, path, 0, "version", "containerd 2.1.2"}}},
		{name: "a Kubernetes nobody knows", node: kubelet("1.99.0"), want: []expect{{Skip, "", 0, "", "nothing is known"}}},
	}
}
