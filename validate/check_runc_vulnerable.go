package validate

import "context"

func runcVulnerable() Check {
	return Check{
		ID:    "runc-vulnerable",
		Title: "runc has known holes",
		Why: `A container gets out to the host. The rules list the holes of runc and the first release of each branch
without them, with their sources and dates. A distribution's package of an affected version is a warning,
unless its state was looked up: Debian 13's 1.1.15+ds1-2 has none of the fixes of November 2025.`,
		Reads:      "the version of each runc that a handler starts, from the program itself, and the package that it comes from",
		Scope:      "nodes with containerd and runc",
		Fix:        "upgrade runc",
		Severity:   Error,
		References: []string{"https://github.com/opencontainers/runc/security/advisories"},
		AppliesTo:  hasRunc,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			copies, err := n.runcs()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, r := range copies {
				if plain(r.Version) == "" {
					continue
				}
				f, err := n.vulnerable(r.program)
				if err != nil {
					return nil, err
				}
				found = append(found, f...)
			}
			return found, nil
		},
	}
}

// hasRunc skips nodes whose handlers start no runc of known version.
func hasRunc(n *Node) (string, error) {
	if reason, err := withCRI(n); reason != "" || err != nil {
		return reason, err
	}
	copies, err := n.runcs()
	if err != nil {
		return "", err
	}
	for _, r := range copies {
		if plain(r.Version) != "" {
			return "", nil
		}
	}
	return "no handler starts a runc whose version can be told", nil
}
