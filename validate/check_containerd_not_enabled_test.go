package validate

func containerdNotEnabledFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "disabled", node: tree{"/etc/systemd/system/multi-user.target.wants/containerd.service": nil},
			want: []expect{{Fail, goodUnit, 0, "containerd.service", "disabled"}}},
		{name: "masked", node: tree{"/etc/systemd/system/containerd.service": link("/dev/null")},
			want: []expect{{Fail, "/etc/systemd/system/containerd.service", 0, "containerd.service", "masked"}}},
		{name: "no unit", node: tree{goodUnit: nil, "/etc/systemd/system/multi-user.target.wants/containerd.service": nil},
			want: []expect{{Fail, "", 0, "containerd.service", "not-found"}}},
		{name: "no containerd", node: tree{"/usr/local/bin/containerd": nil}, want: []expect{{Skip, "", 0, "", "not installed"}}},
	}
}
