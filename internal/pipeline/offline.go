package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// nameMissing adds to why something could not be had offline all that the store
// lacks: bootstrapping and each component only came to the first of theirs. It is
// not looked at before, since what was made from a package may be there without it.
func nameMissing(ctx context.Context, opts Options, s *store.Store, l *lock.Lock, err error) error {
	if err == nil || !opts.Offline || ctx.Err() != nil {
		return err
	}
	return errors.Join(checkStore(s, l), err)
}

// checkStore names all that the lock does and the store lacks.
func checkStore(s *store.Store, l *lock.Lock) error {
	var missing []string
	if image := l.Base.CloudImage; image.URL != "" {
		if _, ok := s.Blob(image.SHA256); !ok {
			missing = append(missing, "cloud image "+image.URL)
		}
	}
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
