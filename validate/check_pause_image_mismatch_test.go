package validate

import "github.com/nodeimage/packer-plugin-nodeimage/profiles"

func pauseImageMismatchFixtures() []fixture {
	own := &profiles.Profile{Kubernetes: profiles.Kubernetes{ImageRepository: "registry.example"}, Components: map[string]profiles.Component{"pause": {Image: "pause:3.10.2"}}}
	return []fixture{
		{name: "good"},
		{name: "good 1.7", node: withContainerd("1.7.24", goodV2)},
		{name: "default of 1.7", node: withContainerd("1.7.24", ""),
			want: []expect{{Fail, config, 0, `plugins."io.containerd.grpc.v1.cri".sandbox_image`, "registry.k8s.io/pause:3.8 (containerd's default)"}}},
		{name: "default of 2.1", node: withContainerd("2.1.9", ""),
			want: []expect{{Fail, config, 0, `plugins."io.containerd.cri.v1.images".pinned_images.sandbox`, "registry.k8s.io/pause:3.10 (containerd's default)"}}},
		{name: "sandbox_image in a version 3 file is ignored", node: withContainerd("2.2.2", replace(goodV2, "version = 2", "version = 3")),
			want: []expect{{Fail, config, 0, `plugins."io.containerd.cri.v1.images".pinned_images.sandbox`, "registry.k8s.io/pause:3.10.1"}}},
		{name: "written and wrong", node: withContainerd("2.3.7", replace(goodConfig, "pause:3.10.2", "pause:3.9")),
			want: []expect{{Fail, config, 4, `plugins."io.containerd.cri.v1.images".pinned_images.sandbox`, "registry.k8s.io/pause:3.9"}}},
		{name: "the profile has another repository", profile: own,
			want: []expect{{Fail, config, 4, `plugins."io.containerd.cri.v1.images".pinned_images.sandbox`, "registry.k8s.io/pause:3.10.2"}}},
		{name: "as the profile says", profile: own, node: withContainerd("2.3.7", replace(goodConfig, "registry.k8s.io/pause", "registry.example/pause"))},
		{name: "no Kubernetes", node: tree{"/usr/bin/kubeadm": nil, "/usr/bin/kubelet": nil}, want: []expect{{Skip, "", 0, "", "not installed"}}},
	}
}
