package validate

import (
	"context"
	"slices"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/dpkg"
)

func profilePackageMissing() Check {
	return Check{
		ID:         "profile-package-missing",
		Title:      "a package that the profile lists is not installed",
		Why:        `It was removed after the build, or never came in.`,
		Reads:      "dpkg's database",
		Scope:      "targets that are compared with a profile",
		Fix:        "apt-get install the package",
		Severity:   Error,
		References: []string{"https://manpages.debian.org/trixie/dpkg/dpkg.1.en.html"},
		AppliesTo:  hasProfile,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			db, err := n.dpkg()
			if err != nil {
				return nil, err
			}
			var wanted []string
			for _, group := range n.Profile.Packages.Include {
				wanted = append(wanted, group...)
			}
			wanted = append(wanted, n.Profile.Kernel.Package)
			slices.Sort(wanted)
			var found []Finding
			for _, name := range slices.Compact(wanted) {
				if p, ok := db.Package(name); name == "" || ok && p.Installed() {
					continue
				}
				found = append(found, Finding{File: dpkg.Status, Key: name, Got: "not installed", Want: "installed", Fix: "apt-get install " + name})
			}
			return found, nil
		},
	}
}
