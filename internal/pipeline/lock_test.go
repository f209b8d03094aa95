package pipeline

import (
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/signature"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

func TestNameSigners(t *testing.T) {
	t.Parallel()
	l := &lock.Lock{Content: lock.Content{Components: []lock.Component{{Name: "kubernetes"}, {Name: "runc"}, {Name: "pause", Signer: "left over"}}}}
	krel := signature.Identity{Kind: "cosign", Subject: "krel@example", Issuer: "https://issuer.example"}
	key := func(k string) signature.Identity {
		return signature.Identity{Kind: "openpgp", Subject: "someone@example", Key: k}
	}
	nameSigners(l, []component.Signed{
		{Component: "kubernetes", URL: "kubeadm", By: krel}, {Component: "kubernetes", URL: "kubelet", By: krel},
		{Component: "runc", URL: "runc.amd64", By: key("B")}, {Component: "runc", URL: "libseccomp", By: key("A")},
	})
	for name, want := range map[string]string{
		"kubernetes": "krel@example (vouched for by https://issuer.example)",
		"runc":       "someone@example (key A), someone@example (key B)",
		"pause":      "",
	} {
		if c, _ := l.Component(name); c.Signer != want {
			t.Errorf("%s is signed by %q, want %q", name, c.Signer, want)
		}
	}
}
