package validate

import (
	"context"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
)

func profileOSDiffers() Check {
	return Check{
		ID:         "profile-os-differs",
		Title:      "the operating system is not the profile's",
		Why:        `An image that was built from another release, or another profile's image under this name.`,
		Reads:      "/etc/os-release",
		Scope:      "targets that are compared with a profile",
		Fix:        "compare with the profile that the image was built from",
		Severity:   Error,
		References: []string{"https://www.freedesktop.org/software/systemd/man/latest/os-release.html"},
		AppliesTo:  hasProfile,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			const file = "/etc/os-release"
			data, err := n.read(file)
			if err != nil {
				return nil, err
			}
			got := map[string]systemd.Variable{}
			for _, v := range systemd.ParseEnvironment(file, data) {
				got[v.Name] = v
			}
			var found []Finding
			for _, want := range [][2]string{{"ID", n.Profile.OS.Distribution}, {"VERSION_ID", n.Profile.OS.Version}} {
				v, ok := got[want[0]]
				if ok && v.Value == want[1] {
					continue
				}
				f := Finding{Key: want[0], Got: v.Value, Want: want[1]}
				if !ok {
					f.Got, v.Pos = "not there", source.Position{File: file}
				}
				found = append(found, f.at(v.Pos))
			}
			return found, nil
		},
	}
}
