package validate

import (
	"context"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/images"
)

func preloadedImagePacked() Check {
	return Check{
		ID:         "preloaded-image-packed",
		Title:      "a preloaded image has to be unpacked at the first boot",
		Why:        `Unpacking all of kubeadm's images takes seconds of every node's first boot on fast machines, and minutes on slow ones.`,
		Reads:      "containerd's database, and the snapshots of each image",
		Scope:      "images with preloaded container images, or with a profile",
		Fix:        "import without --no-unpack, with the snapshotter that the CRI uses",
		Severity:   Warning,
		References: []string{"https://github.com/containerd/containerd/blob/main/docs/content-flow.md"},
		AppliesTo:  hasPreload,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			return n.eachPreloaded(func(i *images.Image) *Finding {
				if i.Unpacked || i.Problem != "" {
					return nil
				}
				return &Finding{Got: plural(len(i.MissingSnapshots), "layer") + " without a snapshot", Want: "a snapshot of each layer"}
			})
		},
	}
}
