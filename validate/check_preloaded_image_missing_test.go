package validate

func preloadedImageMissingFixtures() []fixture {
	const name = "registry.k8s.io/etcd:3.7.0-0"
	return []fixture{
		{name: "good", node: preloadedAll()},
		{name: "one is missing", node: preloadedBut("etcd", func(*store) bool { return false }), want: []expect{{Fail, storeRoot, 0, name, "not in namespace k8s.io"}}},
		{name: "by another tag", node: preloadedBut("etcd", func(s *store) bool { s.image("registry.k8s.io/etcd:3.6.8-0", true, true); return false }),
			want: []expect{{Fail, storeRoot, 0, name, "registry.k8s.io/etcd:3.6.8-0 is there"}}},
		{name: "nothing is preloaded", want: []expect{{Skip, "", 0, "", "no container images"}}},
		{name: "a profile wants them", profile: someProfile(nil), want: []expect{
			{Fail, storeRoot, 0, "registry.k8s.io/kube-apiserver:v1.37.2", ""}, {Fail, storeRoot, 0, "registry.k8s.io/kube-controller-manager:v1.37.2", ""},
			{Fail, storeRoot, 0, "registry.k8s.io/kube-scheduler:v1.37.2", ""}, {Fail, storeRoot, 0, "registry.k8s.io/kube-proxy:v1.37.2", ""},
			{Fail, storeRoot, 0, "registry.k8s.io/coredns/coredns:v1.14.6", ""}, {Fail, storeRoot, 0, "registry.k8s.io/pause:3.10.2", ""}, {Fail, storeRoot, 0, name, ""}}},
	}
}
