package validate

import (
	"context"
	"strings"
)

func preloadedImageMissing() Check {
	return Check{
		ID:    "preloaded-image-missing",
		Title: "an image that kubeadm asks for is not in containerd's store",
		Why: `A node without a registry in reach cannot start: kubeadm's preflight says [ERROR ImagePull]. Images that
ctr imported without -n k8s.io are in another namespace and do not exist for the kubelet; an image by another
tag is another image.`,
		Reads:      "containerd's database, and the images that kubeadm has built in",
		Scope:      "images with preloaded container images, or with a profile",
		Fix:        "ctr -n k8s.io images import IMAGE.tar",
		Severity:   Error,
		References: []string{"https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-init/#without-internet-connection", "https://github.com/kubernetes/kubernetes/blob/v1.37.2/cmd/kubeadm/app/constants/constants.go"},
		AppliesTo:  hasPreload,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			p, err := n.preloaded()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, name := range p.wanted {
				if _, ok := p.store.Image(name); ok {
					continue
				}
				f := Finding{File: p.store.Root, Key: name, Got: "not in namespace k8s.io", Want: "the image, as " + p.kubeadm + " asks for it"}
				base, _, _ := strings.Cut(name, ":")
				for _, other := range p.store.Images {
					if strings.HasPrefix(other.Name, base+":") {
						f.Got += "; " + other.Name + " is there"
					}
				}
				if len(p.store.Images) == 0 && len(p.store.Namespaces) > 0 {
					f.Got += "; containerd has the namespaces " + strings.Join(p.store.Namespaces, ", ")
				}
				found = append(found, f)
			}
			return found, nil
		},
	}
}
