package validate

import "context"

func packagesBroken() Check {
	return Check{
		ID:         "packages-broken",
		Title:      "a package is only half installed",
		Why:        `Its scripts ran half or not at all, and every later apt-get fails until somebody mends it.`,
		Reads:      "dpkg's database",
		Scope:      "nodes with dpkg",
		Fix:        "dpkg --configure -a && apt-get -f install",
		Severity:   Error,
		References: []string{"https://manpages.debian.org/trixie/dpkg/dpkg.1.en.html"},
		AppliesTo: func(n *Node) (string, error) {
			db, err := n.dpkg()
			if err == nil && len(db.Packages) == 0 {
				return "there is no dpkg database", nil
			}
			return "", err
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			db, err := n.dpkg()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, p := range db.Broken() {
				found = append(found, Finding{Key: p.Name, Got: p.State + " " + p.Flag, Want: "installed ok"}.at(p.Pos))
			}
			return several(found, 20), nil
		},
	}
}
