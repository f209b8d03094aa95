package validate

import "context"

func containerdReplaced() Check {
	return Check{
		ID:    "containerd-replaced",
		Title: "the containerd that runs is not the one on disk",
		Why: `After an upgrade without a restart the old containerd goes on, with its faults and its AppArmor profile. A
restart alone does not load a new profile either: containerd loads its own only if none of that name is in
the kernel, so the broken one stays until a reboot, or apparmor_parser -R.`,
		Reads:      "the program of the running containerd, and the loaded AppArmor profiles",
		Scope:      "running nodes with containerd",
		Fix:        "drain the node and reboot it",
		Severity:   Warning,
		References: []string{"https://bugs.launchpad.net/ubuntu/+source/containerd/+bug/2065423", "containerd/containerd#10542"},
		AppliesTo:  func(n *Node) (string, error) { return n.runs("containerd") },
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			all, err := n.Live.Processes("containerd")
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, p := range all {
				if p.Replaced {
					found = append(found, Finding{File: p.Executable, Key: "process " + p.PID, Got: "runs from a file that was replaced or removed", Want: "the containerd on disk"})
				}
			}
			return found, nil
		},
	}
}
