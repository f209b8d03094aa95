package validate

func apparmorProfileNotLoadedFixtures() []fixture {
	const profiles = "/sys/kernel/security/apparmor/profiles"
	node := func(loaded string) machine {
		return up(machine{profiles: loaded, "/sys/fs/cgroup/kubepods.slice/" + podSlice + "/cri-containerd-c0ffee.scope/cgroup.procs": "1\n"})
	}
	return []fixture{
		{name: "good", running: node("runc (unconfined)\ncri-containerd.apparmor.d (enforce)\n")},
		{name: "not loaded", running: node("runc (unconfined)\n"), want: []expect{{Warn, profiles, 0, "cri-containerd.apparmor.d", "not loaded"}}},
		{name: "complains", running: node("cri-containerd.apparmor.d (complain)\n"), want: []expect{{Warn, profiles, 0, "cri-containerd.apparmor.d", "complain"}}},
		{name: "no container", running: up(nil), want: []expect{{Skip, "", 0, "", "no container runs"}}},
	}
}
