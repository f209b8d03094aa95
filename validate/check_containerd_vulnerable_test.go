package validate

func containerdVulnerableFixtures() []fixture {
	const path = "/usr/local/bin/containerd"
	return []fixture{
		{name: "good"},
		{name: "the last 1.7", node: withContainerd("1.7.35", goodV2)},
		{name: "the last of 2.2", node: withContainerd("2.2.9", "version = 3\n")},
		{name: "2.3.1 has what 2.3.2 mended", node: withContainerd("2.3.1", goodConfig), want: []expect{{Fail, path, 0, "version", "CVE-2026-53489"}}},
		{name: "1.7.33 does not have what came with 2.1", node: withContainerd("1.7.33", goodV2)},
		{name: "1.7.15", node: withContainerd("1.7.15", goodV2), want: []expect{{Fail, path, 0, "version", "CVE-2024-25621"}}},
		{name: "unknown", node: tree{fragment("containerd"): nil}, want: []expect{{Skip, "", 0, "", "cannot be told"}}},
	}
}
