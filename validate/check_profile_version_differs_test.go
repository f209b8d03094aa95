package validate

func profileVersionDiffersFixtures() []fixture {
	p := someProfile(nil)
	return []fixture{
		unlisted(),
		{name: "good", profile: p},
		{name: "another containerd", profile: p, node: withContainerd("2.3.6", goodConfig), want: []expect{{Fail, "/usr/local/bin/containerd", 0, "containerd", "containerd 2.3.6"}}},
		{name: "runc is elsewhere", profile: p, node: tree{"/usr/local/sbin/runc": nil}, want: []expect{{Fail, "/usr", 0, "runc", "/usr/local/sbin/runc is not there"}}},
		{name: "no kubectl, and who knows what kubeadm", profile: p, node: tree{"/usr/bin/kubectl": nil, fragment("kubernetes"): recorded("kubernetes", "1.37.2", "/usr/bin/kubelet")},
			want: []expect{{Fail, "/usr/bin/kubeadm", 0, "kubeadm", "cannot be told"}, {Fail, "/usr", 0, "kubectl", "not installed"}}},
	}
}
