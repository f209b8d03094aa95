package validate

func runcMissingFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "BinaryName points nowhere", node: tree{"/usr/local/sbin/runc": nil},
			want: []expect{{Fail, config, 10, `plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options.BinaryName`, "/usr/local/sbin/runc for handler runc"}}},
		{name: "not in PATH", node: withContainerd("1.7.24", "version = 2\n").with("/usr/local/sbin/runc", nil),
			want: []expect{{Fail, "/usr/local/sbin/runc", 0, "PATH", "runc for handler runc"}}},
		{name: "in PATH", node: withContainerd("1.7.24", "version = 2\n").with("/usr/local/sbin/runc", nil).with("/usr/sbin/runc", exe("runc"))},
	}
}
