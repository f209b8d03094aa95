package validate

import "strings"

func preloadedImageIncompleteFixtures() []fixture {
	const name = "registry.k8s.io/kube-proxy:v1.37.2"
	// without drops the blobs that hold a text.
	without := func(t tree, text string) tree {
		out := tree{}
		for p, e := range t {
			if !strings.Contains(p, "/blobs/") || !strings.Contains(e.content, text) {
				out[p] = e
			}
		}
		return out
	}
	packed := preloadedBut("kube-proxy", func(s *store) bool { s.image(name, false, true); return false })
	return []fixture{
		{name: "good", node: preloadedAll()},
		{name: "a layer that is needed no more", node: without(preloadedAll(), "layer of "+name)},
		{name: "a layer that is still needed", node: without(packed, "layer of "+name), want: []expect{{Fail, storeRoot, 0, name, "layer sha256:"}}},
		{name: "the configuration", node: without(packed, sum([]byte("diff of "+name))), want: []expect{{Fail, storeRoot, 0, name, "config"}}},
	}
}
