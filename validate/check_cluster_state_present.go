package validate

import (
	"context"
	"path"
)

func clusterStatePresent() Check {
	return Check{
		ID:    "cluster-state-present",
		Title: "the image holds the state of a cluster that it was once part of",
		Why: `kubeadm's preflight stops: [ERROR FileAvailable--etc-kubernetes-kubelet.conf], [ERROR DirAvailable--
var-lib-etcd]. Worse, every machine made from the image has that cluster's keys.`,
		Reads:      "/etc/kubernetes, /var/lib/etcd, /var/lib/kubelet",
		Scope:      "images, not running nodes",
		Fix:        "kubeadm reset --force before the image is sealed",
		Severity:   Error,
		References: []string{"https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-reset/", "https://github.com/kubernetes/kubernetes/blob/v1.37.2/cmd/kubeadm/app/preflight/checks.go"},
		AppliesTo:  (*Node).image,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			var found []Finding
			add := func(p, what string) {
				found = append(found, Finding{File: p, Got: what, Want: "nothing of a cluster", Fix: "rm -rf " + p})
			}
			confs, err := n.glob("/etc/kubernetes/*.conf")
			if err != nil {
				return nil, err
			}
			for _, p := range confs {
				add(p, "a kubeconfig")
			}
			for _, dir := range [][2]string{
				{"/etc/kubernetes/manifests", "a static pod"},
				{"/etc/kubernetes/pki", "a cluster's key or certificate"},
				{"/var/lib/etcd", "an etcd's data"},
				{"/var/lib/kubelet/pki", "a kubelet's key or certificate"},
				{"/var/lib/kubelet/pods", "a pod's data"},
			} {
				entries, err := n.list(dir[0])
				if err != nil {
					return nil, err
				}
				for _, e := range entries {
					if dir[0] == "/etc/kubernetes/manifests" && (e.Name()[0] == '.' || e.Name() == "README") {
						continue // kubelets skip these
					}
					add(path.Join(dir[0], e.Name()), dir[1])
				}
			}
			return found, nil
		},
	}
}
