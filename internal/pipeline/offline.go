package pipeline

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// checkStore names at once all that a build offline would miss in the store.
// Bootstrapping and each component would only come to the first of theirs.
func checkStore(s *store.Store, l *lock.Lock) error {
	var missing []string
	for _, p := range l.AllPackages() {
		if _, ok := s.Blob(p.SHA256); !ok {
			missing = append(missing, fmt.Sprintf("package %s %s", p.Name, p.Version))
		}
	}
	for _, c := range l.Components {
		if len(c.Packages) > 0 {
			continue // it is its packages
		}
		key, err := component.LockedKey(c)
		if err != nil {
			return fmt.Errorf("component %s: %w", c.Name, err)
		}
		if _, ok := s.Lookup(key); !ok {
			missing = append(missing, fmt.Sprintf("component %s %s", c.Name, cmp.Or(c.Version, c.Sum)))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return exitcode.BadInput(fmt.Errorf("the store %s lacks %d of the things that the lock names, and nothing is fetched or made offline: %s: "+
		"import a bundle of this lock with `nodeimage bundle import`, or build once with a network and this store", s.Dir(), len(missing), strings.Join(missing, ", ")))
}
