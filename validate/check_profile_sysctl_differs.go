package validate

import (
	"context"
	"maps"
	"slices"
)

func profileSysctlDiffers() Check {
	return Check{
		ID:         "profile-sysctl-differs",
		Title:      "a kernel setting is not what the profile says after a boot",
		Why:        `A later file of sysctl.d, of a package or of hardening, wins over the profile's.`,
		Reads:      "the sysctl.d directories in systemd's order",
		Scope:      "targets that are compared with a profile",
		Fix:        "remove the setting that wins, or give it to the profile",
		Severity:   Error,
		References: []string{"https://www.freedesktop.org/software/systemd/man/latest/sysctl.d.html"},
		AppliesTo:  hasProfile,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			var found []Finding
			for _, key := range slices.Sorted(maps.Keys(n.Profile.Host.Sysctls)) {
				f, err := n.wantSysctl(key, n.Profile.Host.Sysctls[key])
				if err != nil {
					return nil, err
				}
				found = append(found, f...)
			}
			return found, nil
		},
	}
}
