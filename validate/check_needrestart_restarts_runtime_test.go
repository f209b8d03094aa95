package validate

func needrestartRestartsRuntimeFixtures() []fixture {
	const conf = "/etc/needrestart/needrestart.conf"
	installed := tree{"/usr/sbin/needrestart": exe("#!/usr/bin/perl"), conf: lines("$nrconf{override_rc} = {", "    qr(^docker) => 0,", "};", "#$nrconf{restart} = 'l';")}
	return []fixture{
		{name: "good", node: installed.with("/etc/needrestart/conf.d/90-nodeimage.conf", lines("$nrconf{override_rc}{qr(^containerd)} = 0;", "$nrconf{override_rc}{qr(^kubelet)} = 0;"))},
		{name: "good, it only lists", node: installed.with("/etc/needrestart/conf.d/90-nodeimage.conf", lines("$nrconf{restart} = 'l';"))},
		{name: "not installed", want: []expect{{Skip, "", 0, "", "not installed"}}},
		{name: "as shipped", node: installed, want: []expect{{Warn, conf, 0, "override_rc", "containerd.service"}, {Warn, conf, 0, "override_rc", "kubelet.service"}}},
	}
}
