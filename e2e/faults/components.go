package faults

import (
	"context"
	"maps"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// FromStore makes what faults swap in as package component does for a profile,
// so that a version is built once and kept. logf gets progress and may be nil.
func FromStore(profile *profiles.Profile, s *store.Store, logf func(format string, args ...any)) Components {
	return func(ctx context.Context, f Fault) (map[string]component.Built, error) {
		changed := *profile
		changed.Components = f.profileComponents(profile)
		omit := map[string][]string{}
		for name, c := range f.Change.Components {
			omit[name] = c.OmitTags
		}
		maker, err := component.New(&changed, s, component.Options{Logf: logf, OmitTags: omit})
		if err != nil {
			return nil, err
		}
		built := map[string]component.Built{}
		for name := range maps.Keys(f.Change.Components) {
			if built[name], err = maker.Component(ctx, name); err != nil {
				return nil, err
			}
		}
		return built, nil
	}
}
