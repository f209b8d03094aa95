package validate

func runtimeInstalledTwiceFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "the package's containerd beside ours", node: tree{"/usr/bin/containerd": exe("another")},
			want: []expect{{Warn, "/usr/bin/containerd", 0, "containerd", "/usr/local/bin/containerd, /usr/bin/containerd"}}},
		{name: "a link is no copy", node: tree{"/usr/bin/containerd": link("/usr/local/bin/containerd")}},
		{name: "the same file twice, as in Ubuntu's runc", node: tree{"/usr/sbin/runc": exe("runc"), "/usr/bin/runc": exe("runc"), "/usr/local/sbin/runc": nil}},
	}
}
