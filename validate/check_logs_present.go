package validate

import (
	"context"
	"io/fs"
)

func logsPresent() Check {
	return Check{
		ID:         "logs-present",
		Title:      "the image holds logs of the machine that it was built on",
		Why:        `Logs tell of hosts, addresses and users of the building machine, and confuse whoever looks for the first boot's errors.`,
		Reads:      "/var/log",
		Scope:      "images, not running nodes",
		Fix:        "find /var/log -xdev -type f -delete",
		Severity:   Warning,
		References: []string{"https://systemd.io/BUILDING_IMAGES/", "https://github.com/kubernetes-sigs/image-builder/blob/main/images/capi/ansible/roles/sysprep/tasks/main.yml"},
		AppliesTo:  (*Node).image,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			var found []Finding
			err := n.walk("/var/log", func(i item) {
				if i.mode&fs.ModeType == 0 && i.size > 0 {
					found = append(found, Finding{File: i.path, Got: "a log of " + plural(int(i.size), "byte"), Want: "an empty /var/log"})
				}
			})
			return several(found, 5), err
		},
	}
}
