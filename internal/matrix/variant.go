package matrix

import (
	"maps"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// variant returns base under another name with other components. It goes
// through its text, so that the same is checked as in any profile, and what a
// stage loads later is what was planned. Versions that are not known to go
// together are bad input.
func variant(base *profiles.Profile, name string, components map[string]profiles.Component) (*profiles.Profile, error) {
	changed := *base
	changed.Name, changed.Description = name, ""
	changed.Components = maps.Clone(base.Components)
	maps.Copy(changed.Components, components)
	text, err := changed.YAML()
	if err != nil {
		return nil, err
	}
	return profiles.Read(name, text)
}
