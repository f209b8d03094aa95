package pipeline

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/cloudimage"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/debstore"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// Gather gets all that the lock of a profile names into the store, and returns
// both. What is there already is not fetched or made again.
func Gather(ctx context.Context, opts Options) (*lock.Lock, *store.Store, error) {
	p, err := profiles.Load(opts.Profile)
	if err != nil {
		return nil, nil, err
	}
	locked, err := findLock(opts, p)
	if err != nil {
		return nil, nil, err
	}
	if locked == nil {
		return nil, nil, exitcode.BadInput(fmt.Errorf("the profile %s has no lock: name one with --lock, or make %s with `nodeimage lock`", opts.Profile, lock.Beside(opts.Profile)))
	}
	s, err := openStore(opts.CacheDir)
	if err != nil {
		return nil, nil, err
	}
	if err := gather(ctx, opts, p, s, locked); err != nil {
		return nil, nil, nameMissing(ctx, opts, s, locked, err)
	}
	return locked, s, nil
}

func gather(ctx context.Context, opts Options, p *profiles.Profile, s *store.Store, locked *lock.Lock) error {
	var from debstore.Fetch
	var client *fetch.Client
	if !opts.Offline {
		var err error
		if client, err = fetchClient(opts, s); err != nil {
			return err
		}
		from = debstore.From(client, p, locked)
	}
	if p.FromCloudImage() {
		if _, err := cloudimage.Get(ctx, client, s, p.Base.CloudImage); err != nil {
			return err
		}
	}
	if err := debstore.Gather(ctx, s, from, locked.AllPackages()); err != nil {
		return err
	}
	maker, err := component.New(p, s, component.Options{Logf: opts.UI.Sayf, Mirrors: opts.Mirrors, Lock: locked, Offline: opts.Offline})
	if err != nil {
		return err
	}
	for _, c := range locked.Components {
		if _, err := maker.Component(ctx, c.Name); err != nil {
			return err
		}
	}
	return nil
}

// fetchClient gets files by way of the mirrors that the user has set.
func fetchClient(opts Options, s *store.Store) (*fetch.Client, error) {
	return fetch.FromEnvironment(fetch.Options{Dir: filepath.Join(s.Dir(), "downloads"), Logf: opts.UI.Sayf}, opts.Mirrors...)
}
