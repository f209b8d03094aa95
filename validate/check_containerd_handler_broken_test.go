package validate

func containerdHandlerBrokenFixtures() []fixture {
	optionsOnly := `version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = true
`
	return []fixture{
		{name: "good"},
		{name: "options only, under 2.3", node: withContainerd("2.3.7", optionsOnly)},
		{name: "options only, under 1.7", node: withContainerd("1.7.24", optionsOnly),
			want: []expect{{Fail, config, 2, `plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc`, "no runtime name"}}},
		{name: "a string for a boolean", node: withContainerd("2.3.7", replace(goodConfig, "SystemdCgroup = true", `SystemdCgroup = "true"`)),
			want: []expect{{Fail, config, 11, `plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc`, "want bool"}}},
	}
}
