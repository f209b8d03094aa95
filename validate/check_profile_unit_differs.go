package validate

import "context"

func profileUnitDiffers() Check {
	return Check{
		ID:         "profile-unit-differs",
		Title:      "a unit is not enabled, disabled or masked as the profile says",
		Why:        `A package's scripts enable what they bring; a unit that is missing cannot start.`,
		Reads:      "unit files, their links and masks",
		Scope:      "targets that are compared with a profile",
		Fix:        "systemctl enable, disable or mask the unit",
		Severity:   Error,
		References: []string{"https://www.freedesktop.org/software/systemd/man/latest/systemctl.html"},
		AppliesTo:  hasProfile,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			units, err := n.units()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, list := range []struct {
				verb, want string
				names      []string
				wrong      func(state string) bool
			}{
				{"enable", "enabled", n.Profile.Host.EnableUnits, func(s string) bool { return s != "enabled" && s != "alias" }},
				{"disable", "disabled", n.Profile.Host.DisableUnits, func(s string) bool { return s == "enabled" }},
				{"mask", "masked", n.Profile.Host.MaskUnits, func(s string) bool { return s != "masked" }},
			} {
				for _, name := range list.names {
					e, err := units.Enablement(name)
					if err != nil {
						return nil, err
					}
					if !list.wrong(e.State) {
						continue
					}
					unit, err := units.Unit(name)
					if err != nil {
						return nil, err
					}
					found = append(found, Finding{File: unit.Fragment, Key: name, Got: e.State, Want: list.want, Fix: "systemctl " + list.verb + " " + name})
				}
			}
			return found, nil
		},
	}
}
