package validate

import "context"

func bridgeNfCallDisabled() Check {
	return Check{
		ID:    "bridge-nf-call-disabled",
		Title: "bridged traffic does not pass iptables",
		Why: `With net.bridge.bridge-nf-call-iptables = 0 a pod that talks to a Service whose endpoint is on the same
node gets its answer past kube-proxy's rules, and the connection hangs. The kernel's default is 1, but only
while nothing sets it; some distributions and libvirt set 0.`,
		Reads:      "the sysctl.d directories in systemd's order",
		Fix:        "echo 'net.bridge.bridge-nf-call-iptables = 1' > /etc/sysctl.d/90-kubernetes.conf",
		Severity:   Error,
		References: []string{"flannel-io/flannel#2068"},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.sysctls()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, key := range []string{"net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"} {
				if s, ok := c.Get(key); ok && s.Value != "1" {
					found = append(found, Finding{Key: key, Got: s.Value, Want: "1",
						Fix: "echo '" + key + " = 1' > /etc/sysctl.d/99-kubernetes.conf"}.at(s.Pos))
				}
			}
			return found, nil
		},
	}
}
