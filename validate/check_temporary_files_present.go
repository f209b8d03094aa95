package validate

import "context"

func temporaryFilesPresent() Check {
	return Check{
		ID:         "temporary-files-present",
		Title:      "the image holds temporary files of its build",
		Why:        `Build scripts leave downloads, keys and answers to installers in /tmp. systemd clears /tmp at boot on some distributions only, /var/tmp never.`,
		Reads:      "/tmp and /var/tmp",
		Scope:      "images, not running nodes",
		Fix:        "find /tmp /var/tmp -mindepth 1 -delete",
		Severity:   Warning,
		References: []string{"https://systemd.io/BUILDING_IMAGES/", "https://www.freedesktop.org/software/systemd/man/latest/file-hierarchy.html"},
		AppliesTo:  (*Node).image,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			var found []Finding
			for _, dir := range []string{"/tmp", "/var/tmp"} {
				err := n.walk(dir, func(i item) {
					if i.path != dir && !i.mode.IsDir() {
						found = append(found, Finding{File: i.path, Got: "a temporary file", Want: "an empty " + dir})
					}
				})
				if err != nil {
					return nil, err
				}
			}
			return several(found, 5), nil
		},
	}
}
