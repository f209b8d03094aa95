package validate

func containerdDumpDiffersFixtures() []fixture {
	says := func(value string) machine {
		return up(machine{"/usr/local/bin/containerd": "#!/bin/sh\ncat <<-'END'\n" +
			"version = 4\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\nSystemdCgroup = " + value + "\nEND\n"})
	}
	return []fixture{
		{name: "good", running: says("true")},
		{name: "another driver", running: says("false"), want: []expect{{Fail, config, 0, `plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options.SystemdCgroup`, "cgroupfs for handler runc"}}},
		{name: "an image", want: []expect{{Skip, "", 0, "", "only a running node"}}},
	}
}
