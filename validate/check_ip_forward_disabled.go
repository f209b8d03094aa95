package validate

import (
	"context"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func ipForwardDisabled() Check {
	return Check{
		ID:    "ip-forward-disabled",
		Title: "IPv4 forwarding is off after a boot, and kubeadm stops",
		Why: `kubeadm's preflight says: [ERROR FileContent--proc-sys-net-ipv4-ip_forward]:
/proc/sys/net/ipv4/ip_forward contents are not set to 1. A value set by hand on the building machine does
not survive the first boot.`,
		Reads:      "the sysctl.d directories in systemd's order",
		Fix:        "echo 'net.ipv4.ip_forward = 1' > /etc/sysctl.d/90-kubernetes.conf",
		Severity:   Error,
		References: []string{"https://kubernetes.io/docs/setup/production-environment/container-runtimes/#prerequisite-ipv4-forwarding-optional"},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			return n.wantSysctl("net.ipv4.ip_forward", "1")
		},
	}
}

// wantSysctl wants a kernel setting to have a value after a boot.
func (n *Node) wantSysctl(key, value string) ([]Finding, error) {
	c, err := n.sysctls()
	if err != nil {
		return nil, err
	}
	s, ok := c.Get(key)
	if ok && s.Value == value {
		return nil, nil
	}
	f := Finding{Key: key, Got: "not set, so the kernel's default", Want: value,
		Fix: "echo '" + key + " = " + value + "' > /etc/sysctl.d/99-kubernetes.conf"}
	if ok {
		f.Got = s.Value
		return []Finding{f.at(s.Pos)}, nil
	}
	if stray, ok := c.Stray(key); ok {
		f.Got = stray.Value + " in a file that systemd-sysctl does not read"
		return []Finding{f.at(stray.Pos)}, nil
	}
	return []Finding{f.at(source.Position{File: "/etc/sysctl.d"})}, nil
}
