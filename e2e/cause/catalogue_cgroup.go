package cause

import "regexp"

func symptom(source Source, confidence Confidence, pattern string) Symptom {
	return Symptom{source, regexp.MustCompile(pattern), confidence}
}

// Catalogue returns every known cause, root causes before consequences.
func Catalogue() []Cause {
	var all []Cause
	all = append(all, cgroupCauses()...)
	all = append(all, appArmorCauses()...)
	all = append(all, runtimeCauses()...)
	all = append(all, hostCauses()...)
	all = append(all, bootCauses()...)
	return all
}

func cgroupCauses() []Cause {
	return []Cause{
		{
			ID:    "cgroup-driver-mismatch",
			Title: "the kubelet uses the systemd cgroup driver while containerd's runtime handler uses cgroupfs, so systemd takes the pods' cgroups away and the kubelet kills healthy pods",
			Fix:   "set SystemdCgroup = true (a boolean) in the options of every io.containerd.runc.v2 handler, in the config version that this containerd reads, and check it with `containerd config dump`",
			See:   []string{"kubernetes#110177", "kubernetes#137695", "containerd#4857"},
			TellApart: "look at a container's /proc/PID/cgroup: a literal `.slice:cri-containerd:` in it proves this cause; " +
				"containerd restarting in the journal at that moment points to the runtime instead",
			Symptoms: []Symptom{
				symptom(Cgroup, Certain, `\.slice:cri-containerd:[0-9a-f]+`),
				symptom(Event, Possible, `SandboxChanged: Pod sandbox changed, it will be killed and re-created`),
				symptom(Fact, Likely, `containerd answers CGROUPFS.*kubelet.*systemd|kubelet.*systemd.*containerd.*cgroupfs`),
			},
		},
		{
			ID:    "cgroup-driver-mismatch-reversed",
			Title: "the kubelet uses the cgroupfs driver while containerd's runtime handler uses systemd, so runc refuses every sandbox",
			Fix:   "remove --cgroup-driver=cgroupfs from the kubelet's flags (/etc/default/kubelet, kubeadm-flags.env, unit drop-ins) and cgroupDriver: cgroupfs from its configuration",
			See:   []string{"containerd#4857"},
			Fatal: 3,
			Symptoms: []Symptom{
				symptom(Event, Certain, `expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups`),
				symptom(Journal, Certain, `expected cgroupsPath to be of format \\*"slice:prefix:name\\*" for systemd cgroups`),
			},
		},
		{
			ID:    "cgroup-driver-cgroupfs",
			Title: "containerd and the kubelet agree on cgroupfs, which makes a second cgroup manager beside systemd: nothing restarts, and the node becomes unstable under resource pressure",
			Fix:   "set SystemdCgroup = true for every runc handler of containerd; the kubelet follows what the runtime reports, so its own configuration does not help",
			See:   []string{"kubernetes/enhancements#4033", "kubernetes.io/docs/setup/production-environment/container-runtimes/#cgroup-drivers"},
			Symptoms: []Symptom{
				symptom(Cgroup, Certain, `^/kubepods/(burstable/|besteffort/)?pod[0-9a-f-]+/[0-9a-f]{64}`),
				// The kubelet's own directories; that the runtime agrees, only a container in one shows.
				symptom(Cgroup, Likely, `^/kubepods(/|$)`),
				symptom(Journal, Certain, `Using cgroup driver setting received from the CRI runtime" cgroupDriver="cgroupfs"`),
				symptom(Config, Likely, `^kubelet cgroupDriver = "cgroupfs"`),
			},
		},
		{
			ID:    "containerd-handler-without-systemd-cgroup",
			Title: "a runc handler of containerd has no SystemdCgroup = true in the effective configuration",
			Fix:   "add `SystemdCgroup = true` under that handler's options table; the key is a boolean, and its path differs between config versions 2 and 3",
			See:   []string{"containerd/containerd docs/cri/config.md", "NVIDIA/nvidia-docker#1788"},
			Symptoms: []Symptom{
				symptom(Config, Certain, `containerd handler "[^"]+".*SystemdCgroup (is|=) (false|absent|"[^"]*")`),
			},
		},
		{
			ID:    "kubelet-cgroup-v1",
			Title: "the node booted with cgroup v1",
			Fix:   "drop systemd.unified_cgroup_hierarchy=0 and systemd.legacy_systemd_cgroup_controller from the kernel command line",
			See:   []string{"kubernetes/enhancements#5573"},
			Fatal: 2,
			Symptoms: []Symptom{
				symptom(Journal, Certain, `kubelet is configured to not run on a host using cgroup v1`),
				symptom(Fact, Certain, `/sys/fs/cgroup is (tmpfs|cgroupfs?), not cgroup2fs`),
			},
		},
		{
			ID:    "pod-slice-lost-controllers",
			Title: "systemd took controllers away from a pod's slice; the kubelet will take the pod for gone and kill it",
			Fix:   "let one manager own the cgroups: SystemdCgroup = true for every runc handler, so that each pod slice holds delegated scopes",
			See:   []string{"kubernetes#122955", "kubernetes#125923"},
			Symptoms: []Symptom{
				symptom(Fact, Likely, `pod slice .* lacks controllers`),
			},
		},
	}
}

func appArmorCauses() []Cause {
	return []Cause{
		{
			ID:    "apparmor-runc-signal-denied",
			Title: "AppArmor 4's profile `runc` labels runc, and containerd's default container profile does not accept signals from that label: no plain container can be stopped",
			Fix:   "use containerd 1.6.32, 1.7.16 or any 2.x, whose profile has `signal (receive) peer=runc,`; or install runc where the profile does not attach (/usr/local/sbin/runc). Test after a clean boot: a loaded profile is not replaced",
			See:   []string{"containerd#10123", "containerd#10542", "runc#4281", "launchpad#2065423"},
			TellApart: "the kernel log has apparmor=\"DENIED\" operation=\"signal\" with peer=\"runc\"; " +
				"without that line look at seccomp and at the process's own capabilities",
			Symptoms: []Symptom{
				symptom(Kernel, Certain, `apparmor="DENIED".*operation="signal".*profile="cri-containerd\.apparmor\.d".*peer="runc"`),
				symptom(Event, Likely, `FailedKillPod.*unable to signal init: permission denied`),
				symptom(Journal, Likely, `unknown error after kill: .*unable to signal init: permission denied`),
			},
		},
		{
			ID:    "apparmor-exec-label-stacked",
			Title: "on kernel 6.17 and newer, processes that exec starts carry a stacked AppArmor label which the container profile's peer rules do not match",
			Fix:   "boot a kernel before 6.17, or use a containerd whose profile matches the stacked label",
			See:   []string{"containerd#12886", "k3s#13625"},
			Symptoms: []Symptom{
				symptom(Kernel, Certain, `apparmor="DENIED".*operation="signal".*peer="cri-containerd\.apparmor\.d//&unconfined"`),
			},
		},
		{
			ID:    "apparmor-unix-socket-denied",
			Title: "the container profile has no pinned AppArmor ABI, and this kernel mediates unix sockets",
			Fix:   "use containerd 1.7.32, 2.0.9, 2.1.8, 2.2.4 or 2.3, or boot a kernel before 6.17",
			See:   []string{"containerd#12726"},
			Symptoms: []Symptom{
				symptom(Kernel, Certain, `apparmor="DENIED".*operation="create".*profile="cri-containerd\.apparmor\.d".*family="unix"`),
			},
		},
		{
			ID:    "apparmor-not-confining",
			Title: "containers run without AppArmor confinement, so the termination specs would prove nothing",
			Fix:   "install the apparmor package (containerd needs /sbin/apparmor_parser), keep AppArmor on in the kernel command line, and drop disable_apparmor from containerd's configuration",
			See:   []string{"containerd pkg/apparmor"},
			Symptoms: []Symptom{
				symptom(Fact, Certain, `AppArmor label of .* is "(unconfined|runc \(unconfined\)|)"`),
				symptom(Fact, Certain, `AppArmor is not enabled`),
			},
		},
		{
			ID:    "apparmor-denied",
			Title: "AppArmor denied something to a container",
			Fix:   "read the denied operation in the evidence line; a rule of the container profile is missing or the workload needs its own profile",
			Symptoms: []Symptom{
				symptom(Kernel, Possible, `apparmor="DENIED".*profile="cri-containerd\.apparmor\.d`),
			},
		},
	}
}
