package validate

import (
	"context"
	"path"
)

func authorizedKeysPresent() Check {
	return Check{
		ID:         "authorized-keys-present",
		Title:      "somebody's SSH key opens every machine made from the image",
		Why:        `A key that was left by the build, or by whoever tried the image out, works on all of its machines for ever.`,
		Reads:      ".ssh/authorized_keys of root, of each home directory and of /etc/skel",
		Scope:      "images, not running nodes",
		Fix:        "rm -f /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys",
		Severity:   Error,
		References: []string{"https://github.com/kubernetes-sigs/image-builder/tree/main/images/capi/packer/goss", "https://cloudinit.readthedocs.io/en/latest/reference/modules.html#ssh"},
		AppliesTo:  (*Node).image,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			homes, err := n.homes()
			if err != nil {
				return nil, err
			}
			var files []string
			for _, h := range homes {
				files = append(files, path.Join(h, ".ssh/authorized_keys"), path.Join(h, ".ssh/authorized_keys2"))
			}
			return n.leftovers("keys that may log in", "none; cloud-init brings each machine's own", files...)
		},
	}
}
