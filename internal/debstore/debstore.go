// Package debstore gets the .debs that a lock names into the store: from the
// archive that they came from or, when that has dropped them, from the snapshot
// archive that the profile names.
package debstore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
)

// Fetch gets one .deb into a file. The caller compares it with its sum.
type Fetch func(ctx context.Context, p lock.Package, target string) error

// Gather sees to it that all packages are in the store. All that cannot be had
// is reported at once. A nil fetch is for a host without a network: what is
// missing is bad input.
func Gather(ctx context.Context, s *store.Store, fetch Fetch, packages []lock.Package) (err error) {
	var missing []lock.Package
	for _, p := range packages {
		if _, ok := s.Blob(p.SHA256); !ok {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if fetch == nil {
		names := make([]string, len(missing))
		for i, p := range missing {
			names[i] = p.Name + " " + p.Version
		}
		return exitcode.BadInput(fmt.Errorf("%d packages of the lock are not in the store and nothing is fetched offline: %s: build once with a network and the same store", len(missing), strings.Join(names, ", ")))
	}
	scratch, release, err := s.Scratch("debs")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	files := map[string]string{}
	errs := make([]error, len(missing))
	var group errgroup.Group
	group.SetLimit(8)
	for i, p := range missing {
		target := filepath.Join(scratch, p.SHA256)
		files[p.SHA256] = target
		group.Go(func() error { errs[i] = fetch(ctx, p, target); return nil })
	}
	_ = group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return s.AddBlobs(ctx, files)
}

// From returns a Fetch that asks the archive a package came from, and then the
// snapshot archive of the same source of profile p, as of when the lock's
// Release files were made.
func From(client *fetch.Client, p *profiles.Profile, l *lock.Lock) Fetch {
	return func(ctx context.Context, deb lock.Package, target string) error {
		var errs []error
		for _, base := range places(p, l, deb) {
			err := get(ctx, client, deb, base, target)
			if err == nil {
				return nil
			}
			errs = append(errs, err)
			if ctx.Err() != nil {
				break
			}
		}
		err := errors.Join(errs...)
		return exitcode.With(exitcode.Of(err), fmt.Errorf("%w: if the archive has dropped this version, name a snapshot archive (archive.sources[].snapshotURI of the profile), import a bundle, or move on with `nodeimage lock --update`", err))
	}
}

func get(ctx context.Context, client *fetch.Client, deb lock.Package, base, target string) error {
	address, err := url.JoinPath(base, strings.Split(deb.Path, "/")...)
	if err != nil {
		return exitcode.BadInput(fmt.Errorf("package %s: %w", deb.Name, err))
	}
	if u, err := url.Parse(base); err == nil && u.Scheme == "file" {
		if err := store.CopyFile(filepath.Join(u.Path, filepath.FromSlash(deb.Path)), target); err != nil {
			return exitcode.BadInput(fmt.Errorf("package %s %s: %w", deb.Name, deb.Version, err))
		}
		return nil
	}
	return client.Get(ctx, fetch.File{What: "package " + deb.Name + " " + deb.Version, URL: address, SHA256: deb.SHA256, Size: int64(deb.Size)}, target)
}

// snapshotTime is how snapshot archives write a time.
const snapshotTime = "20060102T150405Z"

// places are the archives that may have the package, best first.
func places(p *profiles.Profile, l *lock.Lock, deb lock.Package) []string {
	list := []string{deb.URI}
	for _, source := range p.Archive.Sources {
		if source.URI != deb.URI || source.SnapshotURI == "" {
			continue
		}
		var latest time.Time
		for _, r := range l.Releases {
			if at, err := time.Parse(time.RFC3339, r.Date); err == nil && r.URI == source.URI && at.After(latest) {
				latest = at
			}
		}
		list = append(list, strings.ReplaceAll(source.SnapshotURI, "{snapshot}", latest.Format(snapshotTime)))
	}
	return list
}
