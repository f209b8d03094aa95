package validate

func sudoWithoutPasswordFixtures() []fixture {
	return []fixture{
		{name: "good", node: tree{"/etc/sudoers": moded(0o440, "root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n# %wheel ALL=(ALL) NOPASSWD: ALL\n@includedir /etc/sudoers.d\n")}},
		{name: "cloud-init's", node: tree{"/etc/sudoers.d/90-cloud-init-users": moded(0o440, "# made by cloud-init\nubuntu ALL=(ALL) NOPASSWD:ALL\n")},
			want: []expect{{Fail, "/etc/sudoers.d/90-cloud-init-users", 2, "ubuntu", "NOPASSWD"}}},
		{name: "sudo does not read it", node: tree{"/etc/sudoers.d/packer.bak": moded(0o440, "packer ALL=(ALL) NOPASSWD:ALL\n")}},
	}
}
