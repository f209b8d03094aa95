package validate

import (
	"context"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func machineSecretPresent() Check {
	return Check{
		ID:         "machine-secret-present",
		Title:      "the image holds secrets or storage names that belong to one machine",
		Why:        `Two machines with one NVMe host ID or iSCSI initiator name take each other's volumes away; a shared credential secret decrypts every machine's credentials.`,
		Reads:      "systemd's credential secret, NVMe host IDs, the iSCSI initiator name, WireGuard keys",
		Scope:      "images, not running nodes",
		Fix:        "rm -f /var/lib/systemd/credential.secret /etc/nvme/hostid /etc/nvme/hostnqn",
		Severity:   Error,
		References: []string{"https://systemd.io/BUILDING_IMAGES/", "https://www.freedesktop.org/software/systemd/man/latest/systemd-creds.html"},
		AppliesTo:  (*Node).image,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			found, err := n.leftovers("belongs to one machine", "made at first boot", "/var/lib/systemd/credential.secret",
				"/etc/nvme/hostid", "/etc/nvme/hostnqn", "/etc/wireguard/*.conf", "/etc/wireguard/*key")
			if err != nil {
				return nil, err
			}
			const iscsi = "/etc/iscsi/initiatorname.iscsi"
			data, err := n.read(iscsi)
			if err != nil {
				return nil, err
			}
			for _, l := range source.Lines(iscsi, data) {
				if strings.HasPrefix(strings.TrimSpace(l.Text), "InitiatorName=") {
					found = append(found, Finding{Key: "InitiatorName", Got: "a fixed name", Want: "GenerateName=yes", Fix: "echo GenerateName=yes > " + iscsi}.at(l.Pos))
				}
			}
			return found, nil
		},
	}
}
