package validate

func criDriverMismatchFixtures() []fixture {
	const socket = "/run/containerd/containerd.sock"
	return []fixture{
		{name: "good", running: up(nil), cri: &fakeCRI{driver: "systemd"}},
		{name: "cgroupfs", running: up(nil), cri: &fakeCRI{driver: "cgroupfs"}, want: []expect{{Fail, socket, 0, "RuntimeConfig", "containerd 2.3.7 answers cgroupfs"}}},
		{name: "no CRI", running: up(nil), cri: &fakeCRI{disabled: true}, want: []expect{{Fail, socket, 0, "runtime.v1.RuntimeService", "no CRI"}}},
		{name: "1.7", running: up(nil), cri: &fakeCRI{}, want: []expect{{Skip, "", 0, "", "does not implement RuntimeConfig"}}},
		{name: "nobody listens", running: up(nil), want: []expect{{Skip, "", 0, "", "nothing answers"}}},
	}
}
