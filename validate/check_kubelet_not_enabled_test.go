package validate

func kubeletNotEnabledFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "disabled", node: tree{"/etc/systemd/system/multi-user.target.wants/kubelet.service": nil},
			want: []expect{{Fail, "/usr/lib/systemd/system/kubelet.service", 0, "kubelet.service", "disabled"}}},
		{name: "no kubelet", node: tree{"/usr/bin/kubelet": nil}, want: []expect{{Skip, "", 0, "", "kubelet is not installed"}}},
	}
}
