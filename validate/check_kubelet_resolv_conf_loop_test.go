package validate

func kubeletResolvConfLoopFixtures() []fixture {
	stub := link("../run/systemd/resolve/stub-resolv.conf")
	resolved := tree{
		"/usr/lib/systemd/system/systemd-resolved.service":                  lines("[Service]", "ExecStart=/usr/lib/systemd/systemd-resolved", "[Install]", "WantedBy=sysinit.target"),
		"/etc/systemd/system/sysinit.target.wants/systemd-resolved.service": link("/usr/lib/systemd/system/systemd-resolved.service"),
		"/etc/resolv.conf": stub,
	}
	return []fixture{
		{name: "good, kubeadm will find resolved", node: resolved},
		{name: "good, the uplinks", node: resolved.with(kubeletFile, kubeletConfig("resolvConf: /run/systemd/resolve/resolv.conf"))},
		{name: "good, a plain file", node: tree{kubeletFile: kubeletConfig(), "/etc/resolv.conf": lines("nameserver 192.0.2.53")}},
		{name: "the default with the stub", node: resolved.with(kubeletFile, kubeletConfig()),
			want: []expect{{Fail, "/etc/resolv.conf", 0, "resolvConf", "only the stub"}}},
		{name: "named", node: resolved.with(kubeletFile, kubeletConfig("resolvConf: /etc/resolv.conf")),
			want: []expect{{Fail, kubeletFile, 4, "resolvConf", "/etc/resolv.conf"}}},
		{name: "a file with a loopback address", node: tree{kubeletFile: kubeletConfig(), "/etc/resolv.conf": lines("search example", "nameserver 127.0.0.53")},
			want: []expect{{Fail, "/etc/resolv.conf", 2, "resolvConf", ""}}},
	}
}
