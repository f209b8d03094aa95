package validate

func kubernetesEndOfLifeFixtures() []fixture {
	return []fixture{
		{name: "good"},
		{name: "1.34", node: tree{fragment("kubernetes"): recorded("kubernetes", "1.34.3", "/usr/bin/kubelet")},
			want: []expect{{Warn, "/usr/bin/kubelet", 0, "version", "ended on 2026-10-27"}}},
	}
}
