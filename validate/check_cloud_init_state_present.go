package validate

import "context"

func cloudInitStatePresent() Check {
	return Check{
		ID:    "cloud-init-state-present",
		Title: "cloud-init takes the machine for one that it has set up already",
		Why: `With the instance-id of the building machine, cloud-init does nothing on clouds that give the same one, or
runs with the old user data. An installer's cloud.cfg.d files switch its network or its data sources off.`,
		Reads:      "/var/lib/cloud, /etc/cloud, and the network files that cloud-init and installers write",
		Scope:      "images, not running nodes",
		Fix:        "cloud-init clean --logs --seed --machine-id",
		Severity:   Error,
		References: []string{"https://cloudinit.readthedocs.io/en/latest/reference/cli.html#clean", "https://github.com/kubernetes-sigs/image-builder/blob/main/images/capi/ansible/roles/sysprep/tasks/debian.yml"},
		AppliesTo:  (*Node).image,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			found, err := n.leftovers("left by cloud-init", "nothing of an earlier machine",
				"/var/lib/cloud/data/*", "/var/lib/cloud/instances/*", "/var/lib/cloud/sem/*", "/var/lib/cloud/seed/*")
			if err != nil {
				return nil, err
			}
			settings, err := n.leftovers("left by an installer or an earlier boot", "cloud-init's own defaults",
				"/etc/cloud/cloud.cfg.d/99-installer.cfg", "/etc/cloud/cloud.cfg.d/subiquity-disable-cloudinit-networking.cfg",
				"/etc/cloud/cloud.cfg.d/curtin-preserve-sources.cfg", "/etc/netplan/50-cloud-init.yaml", "/etc/netplan/00-installer-config.yaml",
				"/etc/systemd/network/10-cloud-init-*.network", "/etc/network/interfaces.d/50-cloud-init*")
			if err != nil {
				return nil, err
			}
			found = append(found, settings...)
			if ok, err := n.exists("/etc/cloud/cloud-init.disabled"); err != nil {
				return nil, err
			} else if ok {
				found = append(found, Finding{File: "/etc/cloud/cloud-init.disabled", Got: "cloud-init is disabled", Want: "no such file", Fix: "rm /etc/cloud/cloud-init.disabled"})
			}
			return found, nil
		},
	}
}
