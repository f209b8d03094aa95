package validate

import "context"

func containerdLegacySystemdCgroup() Check {
	return Check{
		ID:    "containerd-legacy-systemd-cgroup",
		Title: "containerd is given the old systemd_cgroup, which sets no driver",
		Why: `systemd_cgroup = true at the top of the CRI section belongs to a runtime that is gone. containerd
1.6 and 1.7 do not load the CRI plugin with it, 2.x ignores it with one line in the log; either way runc
stays on cgroupfs.`,
		Reads:      "systemd_cgroup in containerd's CRI section",
		Scope:      "nodes with containerd",
		Fix:        "remove systemd_cgroup and set SystemdCgroup = true in the options of the runc handler",
		Severity:   Error,
		References: []string{"https://github.com/containerd/containerd/blob/v1.7.24/pkg/cri/config/config.go", "kubernetes/kubernetes#110177"},
		AppliesTo:  hasContainerd,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.containerd()
			if err != nil || c.LegacySystemdCgroup == nil || !c.LegacySystemdCgroup.Value {
				return nil, err
			}
			s := c.LegacySystemdCgroup
			f := Finding{Key: s.Key, Got: "systemd_cgroup = true", Want: "SystemdCgroup = true in the options of each runc handler"}
			if h := c.Handlers[c.DefaultHandler.Value]; h != nil {
				f.Fix = "remove systemd_cgroup, then\n" + systemdCgroupSnippet(c, h)
			}
			return []Finding{f.at(s.Pos)}, nil
		},
	}
}
