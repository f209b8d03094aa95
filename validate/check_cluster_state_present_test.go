package validate

func clusterStatePresentFixtures() []fixture {
	left := tree{
		"/etc/kubernetes/kubelet.conf":                  moded(0o600, "kind: Config"),
		"/etc/kubernetes/manifests/kube-apiserver.yaml": lines("kind: Pod"),
		"/etc/kubernetes/pki/ca.key":                    moded(0o600, "secret"),
		"/var/lib/etcd/member/snap/db":                  moded(0o600, "data"),
	}
	return []fixture{
		{name: "good"},
		{name: "good, a hidden file", node: tree{"/etc/kubernetes/manifests/.kubelet-keep": file("")}},
		{name: "left behind", node: left, want: []expect{
			{Fail, "/etc/kubernetes/kubelet.conf", 0, "", "kubeconfig"},
			{Fail, "/etc/kubernetes/manifests/kube-apiserver.yaml", 0, "", "static pod"},
			{Fail, "/etc/kubernetes/pki/ca.key", 0, "", "key"},
			{Fail, "/var/lib/etcd/member", 0, "", "etcd"},
		}},
		{name: "a running node", node: left, running: machine{}, want: []expect{{Skip, "", 0, "", "running node"}}},
	}
}
