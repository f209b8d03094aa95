package validate

import (
	"context"
)

func sshHostKeysPresent() Check {
	return Check{
		ID:         "ssh-host-keys-present",
		Title:      "the image has SSH host keys, which all its machines would share",
		Why:        `Whoever has the image, or one of its machines, can pose as every other machine made from it.`,
		Reads:      "/etc/ssh/ssh_host_*_key",
		Scope:      "images, not running nodes",
		Fix:        "rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub",
		Severity:   Error,
		References: []string{"https://github.com/kubernetes-sigs/image-builder/tree/main/images/capi/packer/goss", "https://cloudinit.readthedocs.io/en/latest/reference/modules.html#ssh"},
		AppliesTo:  (*Node).image,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			keys, err := n.glob("/etc/ssh/ssh_host_*_key")
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, k := range keys {
				found = append(found, Finding{File: k, Got: "a private host key", Want: "none; each machine makes its own at its first boot",
					Fix: "rm -f " + k + " " + k + ".pub"})
			}
			return found, nil
		},
	}
}
