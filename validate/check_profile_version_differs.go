package validate

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
)

func profileVersionDiffers() Check {
	return Check{
		ID:         "profile-version-differs",
		Title:      "a component is not there, or not in the version that the profile pins",
		Why:        `The profile is what was reviewed and tested. An image with another version, from a stale cache or a package that came in as a dependency, is another image.`,
		Reads:      "the versions of containerd, runc, the CNI plugins and Kubernetes from the programs themselves",
		Scope:      "targets that are compared with a profile",
		Fix:        "build the image from the profile again",
		Severity:   Error,
		References: []string{"https://kubernetes.io/releases/version-skew-policy/"},
		AppliesTo:  hasProfile,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			var found []Finding
			judge := func(name, want string, p program, err error) error {
				f := Finding{File: p.Path, Key: name, Want: name + " " + want}
				switch {
				case errors.Is(err, errAbsent):
					f.File, f.Got = "/usr", reasonOf(err)
				case err != nil:
					return err
				case plain(p.Version) == "":
					f.Got = "a version that cannot be told"
				case compare(p.Version, want) != 0:
					f.Got = name + " " + p.Version
				default:
					return nil
				}
				found = append(found, f)
				return nil
			}
			for _, component := range slices.Sorted(maps.Keys(n.Profile.Components)) {
				want := wantedVersion(n.Profile.Components[component])
				for _, name := range installedBy(component) {
					p, err := n.program(name)
					if err := judge(name, want, p, err); err != nil {
						return nil, err
					}
				}
				var at, name string
				switch component {
				case "runc":
					at, name = n.Profile.Runtime.RuncPath, "runc"
				case "cni-plugins":
					at, name = path.Join(n.Profile.Runtime.CNIBinDir, "loopback"), "loopback"
				default:
					continue
				}
				p, err := program{}, error(absent("%s is not there", at))
				if ok, existsErr := n.exists(at); existsErr != nil {
					return nil, existsErr
				} else if ok {
					p, err = n.programAt(name, at)
				}
				if err := judge(name, want, p, err); err != nil {
					return nil, err
				}
			}
			return found, nil
		},
	}
}
