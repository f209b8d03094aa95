package validate

func apparmorNotUsedFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "no parser", node: tree{"/usr/sbin/apparmor_parser": nil}, want: []expect{{Fail, "/sbin/apparmor_parser", 0, "", "not there"}}},
		{name: "off at boot", node: tree{"/boot/grub/grub.cfg": grubConfig("apparmor=0")}, want: []expect{{Fail, "/boot/grub/grub.cfg", 2, "apparmor", "apparmor=0"}}},
		{name: "another module", node: tree{"/boot/grub/grub.cfg": grubConfig("security=selinux")}, want: []expect{{Fail, "/boot/grub/grub.cfg", 2, "security", "selinux"}}},
		{name: "among others", node: tree{"/boot/grub/grub.cfg": grubConfig("lsm=landlock,yama,apparmor,bpf")}},
	}
}
