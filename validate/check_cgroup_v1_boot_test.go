package validate

func cgroupV1BootFixtures() []fixture {
	return []fixture{
		{name: "good", node: tree{"/boot/grub/grub.cfg": grubConfig("console=ttyS0 cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1")}},
		{name: "off", node: tree{"/boot/grub/grub.cfg": grubConfig("systemd.unified_cgroup_hierarchy=0")},
			want: []expect{{Fail, "/boot/grub/grub.cfg", 2, "systemd.unified_cgroup_hierarchy", "=0"}}},
		{name: "a controller is off", node: tree{"/boot/grub/grub.cfg": grubConfig("cgroup_disable=memory")},
			want: []expect{{Fail, "/boot/grub/grub.cfg", 2, "cgroup_disable", "memory"}}},
		{name: "with the next kernel", node: tree{"/boot/grub/grub.cfg": grubConfig(""), "/etc/default/grub": lines("# v1", `GRUB_CMDLINE_LINUX="systemd.unified_cgroup_hierarchy=false"`)},
			want: []expect{{Fail, "/etc/default/grub", 2, "systemd.unified_cgroup_hierarchy", "next kernel"}}},
	}
}
