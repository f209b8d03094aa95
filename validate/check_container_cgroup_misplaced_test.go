package validate

import "maps"

// up is a running node: its containerd, and what else it has.
func up(more machine) machine {
	m := machine{"/proc/100/comm": "containerd\n", "/proc/100/exe": "-> /usr/local/bin/containerd", "/sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
		"/proc/sys/kernel/osrelease": "6.12.48+deb13-amd64\n"}
	maps.Copy(m, more)
	return m
}

const podSlice = "kubepods-besteffort-pod0a1b.slice"

func containerCgroupMisplacedFixtures() []fixture {
	bad := "/sys/fs/cgroup/system.slice/" + podSlice + ":cri-containerd:c0ffee"
	return []fixture{
		{name: "good", running: up(machine{"/sys/fs/cgroup/kubepods.slice/kubepods-besteffort.slice/" + podSlice + "/cri-containerd-c0ffee.scope/cgroup.procs": "1\n"})},
		{name: "literal colons", running: up(machine{bad + "/cgroup.procs": "1\n"}), want: []expect{{Fail, bad, 0, "", "runc made"}}},
		{name: "the kubelet on cgroupfs", running: up(machine{"/sys/fs/cgroup/kubepods/besteffort/pod1/c1/cgroup.procs": "1\n"}), want: []expect{{Fail, "/sys/fs/cgroup/kubepods", 0, "", "kubelet on cgroupfs"}}},
		{name: "an image", want: []expect{{Skip, "", 0, "", "only a running node"}}},
		{name: "no containerd runs", running: machine{"/proc/1/comm": "systemd\n", "/proc/1/exe": "-> /usr/lib/systemd/systemd"}, want: []expect{{Skip, "", 0, "", "does not run"}}},
	}
}
