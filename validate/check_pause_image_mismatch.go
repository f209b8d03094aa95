package validate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func pauseImageMismatch() Check {
	return Check{
		ID:    "pause-image-mismatch",
		Title: "containerd uses another pause image than kubeadm",
		Why: `containerd pulls its own pause image although kubeadm's is there: an air-gapped node starts no pod, and
the kubelet's image collection does not spare containerd's. kubeadm's warning about it never appears with
containerd 2, which no longer reports its sandbox image.`,
		Reads:      "the sandbox image of containerd's effective configuration, and the version that kubeadm has built in",
		Scope:      "nodes with containerd and kubeadm, or a profile",
		Fix:        "set the sandbox image to what kubeadm config images list prints",
		Severity:   Error,
		References: []string{"https://github.com/kubernetes/kubernetes/blob/v1.37.2/cmd/kubeadm/app/preflight/checks.go", "https://github.com/containerd/containerd/blob/main/docs/cri/config.md"},
		AppliesTo:  withCRI,
		Run:        runPauseImageMismatch,
	}
}

func runPauseImageMismatch(_ context.Context, n *Node) ([]Finding, error) {
	c, err := n.containerd()
	if err != nil {
		return nil, err
	}
	want, because, err := n.wantedPause()
	if err != nil {
		return nil, err
	}
	if slices.Contains(want, c.SandboxImage.Value) {
		return nil, nil
	}
	version, _ := criSection(c)
	key, snippet := `plugins."io.containerd.grpc.v1.cri".sandbox_image`, fmt.Sprintf("[plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = %q", want[0])
	if version >= 3 {
		key = `plugins."io.containerd.cri.v1.images".pinned_images.sandbox`
		snippet = fmt.Sprintf("[plugins.\"io.containerd.cri.v1.images\".pinned_images]\n  sandbox = %q", want[0])
	}
	f := Finding{Key: key, Got: c.SandboxImage.Value, Want: want[0] + ", " + because,
		Fix: fmt.Sprintf("# %s\nversion = %d\n%s", c.Path, version, snippet)}
	pos := c.SandboxImage.Pos
	if pos.IsDefault() {
		f.Got += " (containerd's default)"
		pos = source.Position{File: c.Path}
	} else {
		f.Key = c.SandboxImage.Key
	}
	return []Finding{f.at(pos)}, nil
}

// wantedPause is the pause image that pods are to have: the profile's, or that
// of the installed kubeadm.
func (n *Node) wantedPause() (images []string, because string, err error) {
	if n.Profile != nil && n.Profile.Components["pause"].Image != "" {
		return []string{n.Profile.Kubernetes.ImageRepository + "/" + n.Profile.Components["pause"].Image}, "as the profile says", nil
	}
	p, err := n.program("kubeadm")
	if errors.Is(err, errAbsent) {
		// The kubelet comes with the same release's kubeadm.
		p, err = n.program("kubelet")
	}
	if err != nil {
		return nil, "", err
	}
	w, ok := wantedBy(n.compat, p.Version)
	if !ok {
		return nil, "", absent("which pause image kubeadm %s wants is not known", p.Version)
	}
	return []string{"registry.k8s.io/pause:" + w.Pause}, "as kubeadm " + p.Version, nil
}

// wantedBy finds the images that a kubeadm release asks for.
func wantedBy(c *profiles.Compatibility, version string) (wants profiles.KubeadmWants, ok bool) {
	if plain(version) == "" {
		return wants, false
	}
	for _, w := range c.Kubernetes[branchOf(version)].Kubeadm {
		if compare(version, w.From) >= 0 {
			wants, ok = w, true
		}
	}
	return wants, ok
}
