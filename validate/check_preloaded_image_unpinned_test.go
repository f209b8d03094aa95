package validate

func preloadedImageUnpinnedFixtures() []fixture {
	const name = "registry.k8s.io/kube-proxy:v1.37.2"
	return []fixture{
		{name: "good", node: preloadedAll()},
		{name: "no label", node: preloadedBut("kube-proxy", func(s *store) bool { s.image(name, true, false); return false }), want: []expect{{Warn, storeRoot, 0, name, "no label"}}},
	}
}
