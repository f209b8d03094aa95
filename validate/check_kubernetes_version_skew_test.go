package validate

func kubernetesVersionSkewFixtures() []fixture {
	versions := func(kubeadm, kubelet, kubectl string) tree {
		return tree{
			fragment("kubernetes"): recorded("kubernetes", kubeadm, "/usr/bin/kubeadm"),
			fragment("kubelet"):    recorded("kubernetes", kubelet, "/usr/bin/kubelet"),
			fragment("kubectl"):    recorded("kubernetes", kubectl, "/usr/bin/kubectl"),
		}
	}
	return []fixture{
		{name: "good"},
		{name: "an older kubelet", node: versions("1.37.2", "1.34.3", "1.36.0")},
		{name: "a newer kubelet", node: versions("1.36.1", "1.37.2", "1.37.2"), want: []expect{{Fail, "/usr/bin/kubelet", 0, "version", "kubelet 1.37.2"}}},
		{name: "four behind", node: versions("1.37.2", "1.33.0", "1.37.2"), want: []expect{{Fail, "/usr/bin/kubelet", 0, "version", "kubelet 1.33.0"}}},
		{name: "an old kubectl", node: versions("1.37.2", "1.37.2", "1.35.0"), want: []expect{{Warn, "/usr/bin/kubectl", 0, "version", "kubectl 1.35.0"}}},
		{name: "unknown", node: tree{fragment("kubernetes"): nil}, want: []expect{{Skip, "", 0, "", "cannot be told"}}},
	}
}
