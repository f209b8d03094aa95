package validate

func containerdHandlerWithoutOptionsFixtures() []fixture {
	broken := goodConfig + `
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia]
  runtime_type = 'io.containerd.runc.v2'
`
	return []fixture{
		{name: "good"},
		{name: "a handler without options", node: withContainerd("2.3.7", broken),
			want: []expect{{Fail, config, 15, `plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nvidia.options`, "no options for handler nvidia"}}},
		{name: "the default handler", node: withContainerd("2.3.7", replace(broken, "default_runtime_name = 'runc'", "default_runtime_name = 'nvidia'")),
			want: []expect{{Fail, config, 15, `plugins."io.containerd.cri.v1.runtime".containerd.runtimes.nvidia.options`, "handler nvidia (the default)"}}},
		{name: "Kata has options of its own", node: withContainerd("2.3.7", goodConfig+"[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kata]\nruntime_type = 'io.containerd.kata.v2'\n")},
		{name: "1.7 is not asked", node: withContainerd("1.7.24", goodV2), want: []expect{{Skip, "", 0, "", "does not answer RuntimeConfig"}}},
	}
}
