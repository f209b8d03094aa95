package validate

func cloudInitStatePresentFixtures() []fixture {
	return []fixture{
		{name: "good", node: tree{"/var/lib/cloud": directory(0o755), "/var/lib/cloud/instances": directory(0o755), "/etc/cloud/cloud.cfg.d/95_nodeimage.cfg": lines("#cloud-config")}},
		{name: "state", node: tree{"/var/lib/cloud/data/instance-id": lines("i-1"), "/var/lib/cloud/instances/i-1/boot-finished": lines("1")}, want: []expect{
			{Fail, "/var/lib/cloud/data/instance-id", 0, "", "cloud-init"}, {Fail, "/var/lib/cloud/instances/i-1", 0, "", "cloud-init"}}},
		{name: "an installer's", node: tree{"/etc/cloud/cloud.cfg.d/99-installer.cfg": lines("datasource_list: [None]"), "/etc/cloud/cloud-init.disabled": file("")}, want: []expect{
			{Fail, "/etc/cloud/cloud.cfg.d/99-installer.cfg", 0, "", "installer"}, {Fail, "/etc/cloud/cloud-init.disabled", 0, "", "disabled"}}},
	}
}
