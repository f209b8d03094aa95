package matrix

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// variants makes profiles that differ from others in some components. Each
// goes through a file, so that the same is checked as in any profile, and what
// a stage loads later is what was planned.
type variants struct{ dir string }

func newVariants() (variants, error) {
	dir, err := os.MkdirTemp("", "nodeimage-matrix-")
	if err != nil {
		return variants{}, exitcode.Transient(fmt.Errorf("making room for profiles: %w", err))
	}
	return variants{dir}, nil
}

func (v variants) close() error { return os.RemoveAll(v.dir) }

// with returns base under another name with other components. Versions that
// are not known to go together are bad input.
func (v variants) with(base *profiles.Profile, name string, components map[string]profiles.Component) (*profiles.Profile, error) {
	changed := *base
	changed.Name, changed.Description = name, ""
	changed.Components = maps.Clone(base.Components)
	maps.Copy(changed.Components, components)
	text, err := changed.YAML()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(v.dir, "variant.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, exitcode.Transient(fmt.Errorf("writing a profile: %w", err))
	}
	p, err := profiles.Load(file)
	if err != nil {
		return nil, exitcode.BadInput(errors.New(strings.ReplaceAll(err.Error(), file, name)))
	}
	return p, nil
}
