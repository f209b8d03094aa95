package validate

func kubeletConfigBrokenFixtures() []fixture {
	return []fixture{
		{name: "good, before kubeadm"},
		{name: "good, after kubeadm", node: tree{kubeletFile: kubeletConfig()}},
		{name: "another kind", node: tree{kubeletFile: lines("apiVersion: v1", "kind: Pod")}, want: []expect{{Fail, kubeletFile, 0, "kind", "no kind"}}},
		{name: "an unknown driver", node: tree{kubeletFile: lines("apiVersion: kubelet.config.k8s.io/v1beta1", "kind: KubeletConfiguration", "cgroupDriver: systemdd")},
			want: []expect{{Fail, kubeletFile, 3, "cgroupDriver", "unsupported cgroup driver"}}},
		{name: "a missing file of another name", node: tree{kubeletExtra: lines("KUBELET_EXTRA_ARGS=--config=/etc/kubelet.yaml")},
			want: []expect{{Fail, kubeletExtra, 1, "--config", "no such file"}}},
		{name: "running, before kubeadm", running: machine{}},
		{name: "running, in a cluster", running: machine{}, node: tree{"/etc/kubernetes/kubelet.conf": lines("kind: Config")},
			want: []expect{{Fail, "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", 0, "--config", "no such file"}}},
	}
}
