package validate

import "context"

func cgroupV1InUse() Check {
	return Check{
		ID:         "cgroup-v1-in-use",
		Title:      "the running node uses cgroup v1, on which the kubelet does not run",
		Why:        `From 1.35 on the kubelet exits: kubelet is configured to not run on a host using cgroup v1.`,
		Reads:      "/sys/fs/cgroup",
		Scope:      "running nodes",
		Fix:        "remove systemd.unified_cgroup_hierarchy from the kernel command line and reboot",
		Severity:   Error,
		References: []string{"kubernetes/enhancements#5573"},
		AppliesTo:  (*Node).running,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			v2, err := n.Live.CgroupV2()
			if err != nil || v2 {
				return nil, missing(err, "the node has no cgroups")
			}
			return []Finding{{File: "/sys/fs/cgroup", Key: "cgroup.controllers", Got: "not there: cgroup v1, or a hybrid", Want: "cgroup v2"}}, nil
		},
	}
}
