package validate

func swapEnabledFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "fstab", node: tree{"/etc/fstab": lines("LABEL=root / ext4 defaults 0 1", "/swap.img none swap sw 0 0")},
			want: []expect{{Fail, "/etc/fstab", 2, "/swap.img", "a swap area"}}},
		{name: "fstab, not at boot", node: tree{"/etc/fstab": lines("/swap.img none swap noauto 0 0")}},
		{name: "fstab, but swap.target is masked", node: tree{"/etc/fstab": lines("/swap.img none swap sw 0 0"), "/etc/systemd/system/swap.target": link("/dev/null")}},
		{name: "unit", node: tree{
			"/etc/systemd/system/swapfile.swap":                   lines("[Swap]", "What=/swapfile", "[Install]", "WantedBy=swap.target"),
			"/etc/systemd/system/swap.target.wants/swapfile.swap": link("../swapfile.swap"),
			"/usr/lib/systemd/system/swap.target":                 lines("[Unit]", "Description=Swaps"),
			"/usr/lib/systemd/system/sysinit.target":              lines("[Unit]", "Wants=swap.target"),
			"/usr/lib/systemd/system/multi-user.target":           lines("[Unit]", "Requires=basic.target"),
			"/usr/lib/systemd/system/basic.target":                lines("[Unit]", "Requires=sysinit.target"),
		}, want: []expect{{Fail, "/etc/systemd/system/swapfile.swap", 2, "swapfile.swap", "swap on /swapfile"}}},
		{name: "the kubelet is told to live with it", node: tree{
			"/etc/fstab":                   lines("/swap.img none swap sw 0 0"),
			"/var/lib/kubelet/config.yaml": lines("apiVersion: kubelet.config.k8s.io/v1beta1", "kind: KubeletConfiguration", "failSwapOn: false"),
		}},
	}
}
