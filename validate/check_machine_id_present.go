package validate

import (
	"bytes"
	"context"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func machineIDPresent() Check {
	return Check{
		ID:    "machine-id-present",
		Title: "the image has a machine-id, which all its machines would share",
		Why: `Machines with one machine-id get the same DHCP lease, the same link-local names and one journal.
/etc/machine-id must be empty or say "uninitialized", and D-Bus must have no ID of its own.`,
		Reads:      "/etc/machine-id and /var/lib/dbus/machine-id",
		Scope:      "images, not running nodes",
		Fix:        "truncate -s 0 /etc/machine-id\nln -sf /etc/machine-id /var/lib/dbus/machine-id",
		Severity:   Error,
		References: []string{"aws/eks-anywhere#940", "kubermatic/machine-controller#1455", "https://www.freedesktop.org/software/systemd/man/latest/machine-id.html"},
		AppliesTo:  (*Node).image,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			var found []Finding
			for _, file := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
				if target, ok := source.Link(n.Root, file); ok && source.ResolveLink(file, target) == "/etc/machine-id" {
					continue
				}
				id, err := n.read(file)
				if err != nil {
					return nil, err
				}
				if id = bytes.TrimSpace(id); len(id) > 0 && string(id) != "uninitialized" {
					found = append(found, Finding{File: file, Line: 1, Got: "an ID (" + string(id[:min(len(id), 4)]) + "…)", Want: "an empty file",
						Fix: "truncate -s 0 /etc/machine-id\nln -sf /etc/machine-id /var/lib/dbus/machine-id"})
				}
			}
			return found, nil
		},
	}
}
