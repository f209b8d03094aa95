package cause

func runtimeCauses() []Cause {
	return []Cause{
		{
			ID:    "containerd-cri-disabled",
			Title: "containerd's CRI plugin is disabled",
			Fix:   `remove "cri" from disabled_plugins in /etc/containerd/config.toml (Docker's package ships it so) and restart containerd`,
			See:   []string{"containerd#14121"},
			Symptoms: []Symptom{
				symptom(Journal, Certain, `unknown service runtime\.v1\.(Runtime|Image)Service`),
				symptom(Kubeadm, Certain, `unknown service runtime\.v1\.(Runtime|Image)Service`),
				symptom(Fact, Certain, `unknown service runtime\.v1\.(Runtime|Image)Service`),
				symptom(Config, Certain, `containerd disabled_plugins has .*cri`),
			},
		},
		{
			ID:    "containerd-config-version",
			Title: "containerd's config.toml has a version that the installed binary does not read",
			Fix:   "write config version 2 for containerd 1.x, 3 for 2.0 to 2.2, 4 from 2.3",
			See:   []string{"containerd RELEASES.md"},
			Symptoms: []Symptom{
				symptom(Journal, Certain, `containerd config version .\d+. is not supported, the max version is`),
				symptom(Journal, Certain, `expected containerd config version equal to or less than`),
				symptom(Journal, Certain, `drop-in config version \d+ higher than root config version`),
			},
		},
		{
			ID:    "containerd-config-ignored",
			Title: "containerd ignores keys of its configuration",
			Fix:   "move the named key to the plugin section of the config version that the file declares; `containerd config migrate` shows where",
			Symptoms: []Symptom{
				symptom(Journal, Likely, `Ignoring unknown key in TOML for plugin`),
			},
		},
		{
			ID:    "runc-without-seccomp",
			Title: "runc was built without seccomp, so no container starts",
			Fix:   "build runc with the seccomp build tag and install libseccomp; `runc --version` then prints a libseccomp line",
			Fatal: 2,
			Symptoms: []Symptom{
				symptom(Event, Certain, `seccomp: config provided but seccomp not supported`),
				symptom(Journal, Certain, `seccomp: config provided but seccomp not supported`),
			},
		},
		{
			ID:    "sandbox-image-mismatch",
			Title: "containerd asks for a pause image that is not the preloaded one",
			Fix:   "set containerd's sandbox image to the pause image of `kubeadm config images list` and preload that",
			Fatal: 3,
			Symptoms: []Symptom{
				symptom(Fact, Certain, `containerd's sandbox image .* is not `),
				symptom(Event, Certain, `failed to (get|pull) (sandbox )?image ".*pause`),
				symptom(Journal, Certain, `failed to (get|pull) (sandbox )?image \\*".*pause`),
			},
		},
		{
			ID:    "image-not-preloaded",
			Title: "a container image that the cluster needs is not in the node image",
			Fix:   "preload every image of `kubeadm config images list` into containerd's k8s.io namespace at build time",
			Fatal: 3,
			Symptoms: []Symptom{
				symptom(Fact, Certain, `image .* that kubeadm needs is not in the runtime's store`),
				symptom(Event, Certain, `ErrImageNeverPull`),
				symptom(Event, Certain, `Container image ".*" is not present with pull policy of Never`),
				// Without an API server there are no events: of the control plane's own images.
				symptom(Journal, Certain, `is not present with pull policy of Never|ErrImageNeverPull`),
				symptom(Journal, Likely, `PullImage \\?".*registry\.k8s\.io`),
				symptom(Kubeadm, Likely, `\[ERROR ImagePull\]`),
			},
		},
		{
			ID:    "cni-plugin-missing",
			Title: "containerd looks for CNI plugins where they are not",
			Fix:   "install bridge, host-local, loopback and portmap into the directory that containerd's CNI bin_dirs names (/opt/cni/bin)",
			Fatal: 3,
			Symptoms: []Symptom{
				symptom(Event, Certain, `failed to find plugin "[^"]+" in path`),
				symptom(Journal, Certain, `failed to find plugin \\?"[^"\\]+\\?" in path`),
			},
		},
		{
			ID:    "containerd-kill-mode",
			Title: "restarting containerd kills running containers",
			Fix:   "set KillMode=process and Delegate=yes in containerd.service",
			See:   []string{"containerd docs/ops.md"},
			Symptoms: []Symptom{
				symptom(Fact, Likely, `processes? .* did not survive the restart of containerd`),
				symptom(Config, Certain, `^containerd\.service KillMode = "?(control-group|mixed)`),
			},
		},
		{
			ID:    "kubelet-unknown-flag",
			Title: "the kubelet is started with a flag that it no longer knows",
			Fix:   "remove the flag from /etc/default/kubelet, kubeadm-flags.env and unit drop-ins (--pod-infra-container-image went away in 1.35, the cAdvisor flags in 1.37)",
			Fatal: 2,
			Symptoms: []Symptom{
				symptom(Journal, Certain, `failed to parse kubelet flag: unknown flag`),
				symptom(Journal, Likely, `kubelet.*unknown flag: --`),
			},
		},
		{
			ID:    "kubelet-newer-than-control-plane",
			Title: "the kubelet is newer than the control plane",
			Fix:   "install kubelet, kubeadm and control-plane images of one version, and hold the packages",
			Symptoms: []Symptom{
				symptom(Kubeadm, Certain, `the kubelet version is higher than the control plane version`),
			},
		},
		{
			ID:    "service-account-missing",
			Title: "the pod was created before its namespace had a service account",
			Fix:   "wait for the service account `default` of the namespace before creating pods; this is not the image's fault",
			Symptoms: []Symptom{
				symptom(Fact, Certain, `error looking up service account`),
			},
		},
	}
}
