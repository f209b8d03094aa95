package validate

import (
	"context"
	"io/fs"
)

func setuidUnexpected() Check {
	return Check{
		ID:    "setuid-unexpected",
		Title: "a program that no package brought runs with more rights than its caller",
		Why: `A setuid, setgid or capability-carrying program is a way to root. Those that a distribution's packages
bring are known and mended by upgrades; nobody looks after one that a build script left.`,
		Reads:      "setuid and setgid bits of all files, capabilities of programs, and dpkg's lists of files",
		Fix:        "chmod u-s,g-s FILE; setcap -r FILE",
		Severity:   Warning,
		References: []string{"https://manpages.debian.org/trixie/manpages/capabilities.7.en.html"},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			all, err := n.inventory()
			if err != nil {
				return nil, err
			}
			var found []Finding
			add := func(p, got, fix string) error {
				pkg, err := n.packageOf(p)
				if err == nil && pkg.Name == "" {
					found = append(found, Finding{File: p, Got: got + ", from no package", Want: "no more rights than the caller has", Fix: fix + " " + shellWord(p)})
				}
				return err
			}
			for _, i := range all {
				switch {
				case i.mode.IsRegular() && i.mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 && i.mode.Perm()&0o111 != 0:
					err = add(i.path, i.mode.String(), "chmod u-s,g-s")
				case i.caps:
					err = add(i.path, "capabilities", "setcap -r")
				}
				if err != nil {
					return nil, err
				}
			}
			return several(found, 20), nil
		},
	}
}
