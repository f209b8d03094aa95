package validate

import (
	"context"
	"slices"
)

func timeNotSynchronized() Check {
	return Check{
		ID:         "time-not-synchronized",
		Title:      "nothing sets the node's clock",
		Why:        `A clock that is off makes certificates not yet valid or expired: kubeadm join fails with x509 errors, and tokens are refused.`,
		Reads:      "which of systemd-timesyncd, chrony, ntpsec, ntp and openntpd starts at boot",
		Fix:        "systemctl enable systemd-timesyncd.service",
		Severity:   Warning,
		References: []string{"https://github.com/kubernetes-sigs/image-builder/tree/main/images/capi/packer/goss", "https://kubernetes.io/docs/setup/best-practices/certificates/"},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			units, err := n.units()
			if err != nil {
				return nil, err
			}
			names := []string{"systemd-timesyncd.service", "chrony.service", "chronyd.service", "ntpsec.service", "ntp.service", "ntpd.service", "openntpd.service"}
			for _, name := range names {
				e, err := units.Enablement(name)
				if err != nil {
					return nil, err
				}
				if e.Enabled() || e.State == "alias" {
					return nil, nil
				}
			}
			there := slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(units.Names(".service"), name) })
			f := Finding{File: "/etc/systemd/system", Key: "systemd-timesyncd.service", Got: "no time service is installed", Want: "one that starts at boot", Fix: "apt-get install systemd-timesyncd"}
			if len(there) > 0 {
				f.Key, f.Got, f.Fix = there[0], there[0]+" is installed and does not start", "systemctl enable "+there[0]
			}
			return []Finding{f}, nil
		},
	}
}
