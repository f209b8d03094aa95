package validate

import (
	"context"
	"fmt"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/binary"
)

func apparmorUnixSocketsDenied() Check {
	return Check{
		ID:    "apparmor-unix-sockets-denied",
		Title: "AppArmor denies unix sockets to containers on this kernel",
		Why: `From kernel 6.17 on a profile without an ABI is read by new rules, under which containerd's allows no unix
sockets: operation="create" class="net" info="failed protocol match" family="unix". containerd pins the ABI
since 1.7.31, 2.0.9, 2.1.7, 2.2.2 and 2.3.0.`,
		Reads:      "the AppArmor profile in containerd, /etc/apparmor.d/abi, and each kernel's version",
		Scope:      "nodes with containerd and a kernel of 6.17 or later",
		Fix:        "upgrade containerd and reboot, since a loaded profile stays until then",
		Severity:   Error,
		References: []string{"containerd/containerd#12726"},
		AppliesTo: func(n *Node) (string, error) {
			return n.onKernels("apparmor-unix-sockets-denied")
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			p, err := n.program("containerd")
			if err != nil {
				return nil, err
			}
			t, err := n.template()
			if err != nil {
				return nil, err
			}
			rule, hit, err := n.kernelFault("apparmor-unix-sockets-denied", "0.0.0")
			if err != nil {
				return nil, err
			}
			pinned := t.ABI == binary.PinFixed
			if t.ABI == binary.PinIfPresent {
				if pinned, err = n.exists(binary.ABIFile); err != nil {
					return nil, err
				}
			}
			if !t.Found {
				pinned = has(rule.Fixed, p.Version)
			}
			if pinned {
				return nil, nil
			}
			f := Finding{File: p.Path, Key: "version", Got: fmt.Sprintf("containerd %s pins no ABI in its profile, on kernel %s", p.Version, strings.Join(hit, ", ")),
				Want: "containerd " + strings.Join(rule.Fixed, ", ") + " or later"}
			if t.ABI == binary.PinIfPresent {
				f = Finding{File: binary.ABIFile, Got: "not there, so containerd " + p.Version + " does not pin the ABI", Want: "the file, from the package apparmor", Fix: "apt-get install apparmor"}
			}
			return []Finding{f}, nil
		},
	}
}

// onKernels skips nodes on which no kernel shows a fault of containerd's
// AppArmor profile.
func (n *Node) onKernels(id string) (string, error) {
	if reason, err := confines(n); reason != "" || err != nil {
		return reason, err
	}
	rule, hit, err := n.kernelFault(id, "0.0.0")
	if err == nil && len(hit) == 0 {
		return "no kernel of " + rule.Kernel.From + " or later", nil
	}
	return "", err
}

// confines skips nodes whose containers have no AppArmor profile.
func confines(n *Node) (string, error) {
	if reason, err := withCRI(n); reason != "" || err != nil {
		return reason, err
	}
	c, err := n.containerd()
	if err != nil {
		return "", err
	}
	if c.DisableAppArmor.Value {
		return "containerd is told not to use AppArmor", nil
	}
	for _, p := range []string{"/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"} {
		if ok, err := n.exists(p); ok || err != nil {
			return "", err
		}
	}
	return "there is no apparmor_parser, so containers have no profile", nil
}
