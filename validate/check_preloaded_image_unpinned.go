package validate

import (
	"context"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/images"
)

func preloadedImageUnpinned() Check {
	return Check{
		ID:    "preloaded-image-unpinned",
		Title: "the kubelet may remove a preloaded image when the disk fills up",
		Why: `The kubelet's image collection removes what no pod uses, kubeadm's images on a worker first. A node without
a registry cannot get them back. Images with the label io.cri-containerd.pinned=pinned are spared.`,
		Reads:      "the labels in containerd's database",
		Scope:      "images with preloaded container images, or with a profile",
		Fix:        "ctr -n k8s.io images label IMAGE io.cri-containerd.pinned=pinned",
		Severity:   Warning,
		References: []string{"https://kubernetes.io/docs/concepts/architecture/garbage-collection/#container-image-garbage-collection", "https://github.com/containerd/containerd/blob/main/docs/cri/config.md"},
		AppliesTo:  hasPreload,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			return n.eachPreloaded(func(i *images.Image) *Finding {
				if i.Pinned() {
					return nil
				}
				return &Finding{Got: "no label " + images.PinnedLabel, Want: images.PinnedLabel + "=pinned"}
			})
		},
	}
}
