package validate

import (
	"context"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/images"
)

func preloadedImageIncomplete() Check {
	return Check{
		ID:    "preloaded-image-incomplete",
		Title: "a preloaded image has parts missing",
		Why: `containerd lists the image by its name, so nothing looks wrong until a pod starts: content digest
sha256:… not found. An import of another platform's archive, or a store that was copied while containerd ran,
looks like this.`,
		Reads:      "containerd's database, and the blobs and snapshots of each image",
		Scope:      "images with preloaded container images, or with a profile",
		Fix:        "ctr -n k8s.io images rm IMAGE, and import it again",
		Severity:   Error,
		References: []string{"https://github.com/containerd/containerd/blob/main/docs/content-flow.md"},
		AppliesTo:  hasPreload,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			return n.eachPreloaded(func(i *images.Image) *Finding {
				f := &Finding{Want: "every part of the image"}
				if i.Problem != "" {
					f.Got = i.Problem
					return f
				}
				for _, b := range i.Missing {
					// Layers of an unpacked image are needed no more.
					if b.Kind == "layer" && i.Unpacked {
						continue
					}
					f.Got = "the " + b.Kind + " " + b.Digest + " is missing: " + b.Reason
					return f
				}
				return nil
			})
		},
	}
}
