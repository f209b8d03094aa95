package validate

import "context"

func apparmorProfileNotLoaded() Check {
	return Check{
		ID:         "apparmor-profile-not-loaded",
		Title:      "containers run, and AppArmor's profile for them is not loaded",
		Why:        `Every container without privileges should have the profile cri-containerd.apparmor.d. If it is not in the kernel, or only complains, they are not confined.`,
		Reads:      "the loaded AppArmor profiles and the cgroups of the running node",
		Scope:      "running nodes with AppArmor and containers",
		Fix:        "apt-get install apparmor, then reboot",
		Severity:   Warning,
		References: []string{"https://kubernetes.io/docs/tutorials/security/apparmor/", "https://github.com/containerd/containerd/blob/main/contrib/apparmor/apparmor.go"},
		AppliesTo: func(n *Node) (string, error) {
			if reason, err := n.running(); reason != "" || err != nil {
				return reason, err
			}
			if reason, err := confines(n); reason != "" || err != nil {
				return reason, err
			}
			in, err := n.Live.Cgroups(func(p string) bool { return inContainer(p) || misplaced(p) })
			if err == nil && len(in) == 0 {
				return "no container runs", nil
			}
			return "", missing(err, "the node has no cgroups")
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			loaded, err := n.Live.AppArmor()
			if err != nil {
				return nil, missing(err, "the kernel has no AppArmor")
			}
			const name = "cri-containerd.apparmor.d"
			switch mode := loaded[name]; mode {
			case "enforce":
				return nil, nil
			case "":
				return []Finding{{File: "/sys/kernel/security/apparmor/profiles", Key: name, Got: "not loaded", Want: "enforce"}}, nil
			default:
				return []Finding{{File: "/sys/kernel/security/apparmor/profiles", Key: name, Got: mode, Want: "enforce"}}, nil
			}
		},
	}
}
