package validate

func containerdAppArmorDisabledFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "disabled", node: withContainerd("2.3.7", goodConfig+"[plugins.'io.containerd.cri.v1.runtime']\n  disable_apparmor = true\n"),
			want: []expect{{Fail, config, 15, `plugins."io.containerd.cri.v1.runtime".disable_apparmor`, "disable_apparmor = true"}}},
	}
}
