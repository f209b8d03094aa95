package validate

import (
	"context"
	"strings"
)

func kubeletRuntimeEndpointWrong() Check {
	return Check{
		ID:    "kubelet-runtime-endpoint-wrong",
		Title: "the kubelet and containerd do not use the same socket",
		Why: `The kubelet asks a socket on which nobody answers and exits: validate CRI v1 runtime API for endpoint …
connection refused. Flags of dockershim and of CRI-O live on in old images.`,
		Reads:      "the kubelet's containerRuntimeEndpoint and containerd's grpc address",
		Scope:      "nodes with a kubelet and containerd",
		Fix:        "containerRuntimeEndpoint: unix:///run/containerd/containerd.sock",
		Severity:   Error,
		References: []string{"https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/#installing-runtime", "https://kubernetes.io/docs/tasks/administer-cluster/migrating-from-dockershim/change-runtime-containerd/"},
		AppliesTo: func(n *Node) (string, error) {
			if _, err := n.kubelet(); err != nil {
				return "", err
			}
			return withCRI(n)
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			k, err := n.kubelet()
			if err != nil {
				return nil, err
			}
			c, err := n.containerd()
			if err != nil {
				return nil, err
			}
			want := "unix://" + c.Address.Value
			got := k.RuntimeEndpoint.Value
			if k.RuntimeEndpoint.Key == "" || socketPath(got) == socketPath(want) {
				if k.RuntimeEndpoint.Key != "" || socketPath(want) == "/run/containerd/containerd.sock" {
					return nil, nil
				}
				f := Finding{Key: c.Address.Key, Got: c.Address.Value, Want: "/run/containerd/containerd.sock, where kubelet and kubeadm look by themselves"}
				return []Finding{f.at(c.Address.Pos)}, nil
			}
			f := Finding{Key: k.RuntimeEndpoint.Key, Got: got, Want: want, Fix: "containerRuntimeEndpoint: " + want}
			return []Finding{f.at(k.RuntimeEndpoint.Pos)}, nil
		},
	}
}

// socketPath is the path of an endpoint. /var/run is a link to /run.
func socketPath(endpoint string) string {
	p := strings.TrimPrefix(endpoint, "unix://")
	if rest, ok := strings.CutPrefix(p, "/var/run/"); ok {
		return "/run/" + rest
	}
	return p
}
