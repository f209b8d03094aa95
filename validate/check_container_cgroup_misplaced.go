package validate

import (
	"context"
	"strings"
)

func containerCgroupMisplaced() Check {
	return Check{
		ID:    "container-cgroup-misplaced",
		Title: "containers are in cgroups that systemd and the kubelet do not know",
		Why: `This is the cgroup driver mismatch at work, visible from a pod's first second: with the kubelet on systemd
and runc on cgroupfs, containers are in …/system.slice/kubepods-….slice:cri-containerd:…, with literal
colons. /sys/fs/cgroup/kubepods without .slice means that the kubelet has followed containerd to cgroupfs.`,
		Reads:      "the cgroups of the running node",
		Scope:      "running nodes with containerd",
		Fix:        "set SystemdCgroup = true for every runc handler, then restart containerd and kubelet and drain the node",
		Severity:   Error,
		References: []string{"kubernetes/kubernetes#110177", "kubernetes/kubernetes#111776", "containerd/containerd#7276"},
		AppliesTo:  func(n *Node) (string, error) { return n.runs("containerd") },
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			paths, err := n.Live.Cgroups(misplaced)
			if err != nil {
				return nil, missing(err, "the node has no cgroups")
			}
			var found []Finding
			for _, p := range paths {
				f := Finding{File: "/sys/fs/cgroup" + p, Got: "a container's cgroup that runc made by itself", Want: "/sys/fs/cgroup/kubepods.slice/….slice/cri-containerd-….scope"}
				if !strings.Contains(p, ":") {
					f.Got = "the cgroup of a kubelet on cgroupfs"
				}
				found = append(found, f)
			}
			return several(found, 5), nil
		},
	}
}
