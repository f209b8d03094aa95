package validate

func networkdFlushesRoutesFixtures() []fixture {
	const conf = "/etc/systemd/networkd.conf.d/50-cni.conf"
	networkd := tree{
		"/usr/lib/systemd/system/systemd-networkd.service":                     lines("[Service]", "ExecStart=/usr/lib/systemd/systemd-networkd", "[Install]", "WantedBy=multi-user.target"),
		"/etc/systemd/system/multi-user.target.wants/systemd-networkd.service": link("/usr/lib/systemd/system/systemd-networkd.service"),
	}
	return []fixture{
		{name: "good", node: networkd.with(conf, lines("[Network]", "ManageForeignRoutes=no", "ManageForeignRoutingPolicyRules=no"))},
		{name: "another network", want: []expect{{Skip, "", 0, "", "does not start"}}},
		{name: "one of the two", node: networkd.with(conf, lines("[Network]", "ManageForeignRoutes=yes", "ManageForeignRoutingPolicyRules=no")),
			want: []expect{{Warn, conf, 2, "ManageForeignRoutes", "=yes"}}},
		{name: "nothing", node: networkd, want: []expect{
			{Warn, "/etc/systemd/networkd.conf", 0, "ManageForeignRoutes", "not set"}, {Warn, "/etc/systemd/networkd.conf", 0, "ManageForeignRoutingPolicyRules", "not set"}}},
	}
}
