package validate

func preloadedImagePackedFixtures() []fixture {
	const name = "registry.k8s.io/kube-proxy:v1.37.2"
	return []fixture{
		{name: "good", node: preloadedAll()},
		{name: "packed", node: preloadedBut("kube-proxy", func(s *store) bool { s.image(name, false, true); return false }), want: []expect{{Warn, storeRoot, 0, name, "1 layer"}}},
	}
}
