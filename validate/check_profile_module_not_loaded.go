package validate

import "context"

func profileModuleNotLoaded() Check {
	return Check{
		ID:         "profile-module-not-loaded",
		Title:      "a kernel module that the profile names is not loaded at boot",
		Why:        `The file is missing, a later one masks it, or a blacklist keeps the module away.`,
		Reads:      "modules-load.d, modprobe.d and each kernel's modules",
		Scope:      "targets that are compared with a profile",
		Fix:        "name the module in /etc/modules-load.d",
		Severity:   Error,
		References: []string{"https://www.freedesktop.org/software/systemd/man/latest/modules-load.d.html"},
		AppliesTo:  hasProfile,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			var found []Finding
			for _, m := range n.Profile.Host.Modules {
				f, err := n.wantModule(m)
				if err != nil {
					return nil, err
				}
				found = append(found, f...)
			}
			return found, nil
		},
	}
}
