package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/renameio/v2"
	"golang.org/x/sync/errgroup"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/bootstrap"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/component"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/debstore"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/kubernetes"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/parts"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/runtime"
)

// Result is what a build made, or found to be made already.
type Result struct {
	// ID is the sha256 of the first image, in hexadecimal.
	ID string `json:"id"`
	// Files are the images and the manifest.
	Files []string `json:"files"`
	// UpToDate tells that nothing had changed since the files were built.
	UpToDate bool `json:"upToDate"`
	// SHA256 of each file by its path.
	SHA256 map[string]string `json:"sha256"`
}

// resolved is what a build is made from, all of it in the store.
type resolved struct {
	base     bootstrap.Base
	set      *parts.Set
	resolver *component.Maker
	locked   *lock.Lock
}

// resolve makes what a build is made from, everything at the same time:
// compiling waits for no download. The steps of the build then find it all in the
// store. With a lock, it is what the lock says.
//
// When all components are there and the base is still being made, which keeps
// little more than one processor busy, it calls beside, unless that is nil.
func resolve(ctx context.Context, opts Options, p *profiles.Profile, s *store.Store, locked *lock.Lock, beside func(*component.Maker)) (*resolved, error) {
	made, err := resolveAll(ctx, opts, p, s, locked, beside)
	if err != nil {
		return nil, err
	}
	return made, made.checkImages()
}

// resolveAll is resolve without a look at the lock's container images.
func resolveAll(ctx context.Context, opts Options, p *profiles.Profile, s *store.Store, locked *lock.Lock, beside func(*component.Maker)) (*resolved, error) {
	resolver, err := component.New(p, s, component.Options{Logf: opts.UI.Sayf, Mirrors: opts.Mirrors, Lock: locked, Offline: opts.Offline})
	if err != nil {
		return nil, err
	}
	made := &resolved{resolver: resolver, locked: locked}
	making, based := make(chan struct{}), make(chan struct{})
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		defer close(based)
		maker := bootstrap.Maker{
			Host: run.Host{}, Store: s, Lock: locked,
			Progress: func(line string) { opts.UI.Say("base: " + line) },
			Begin:    sync.OnceFunc(func() { close(making) }),
		}
		if !opts.Offline {
			if maker.Client, err = fetchClient(opts, s); err != nil {
				return err
			}
			if locked != nil {
				maker.Fetch = debstore.From(maker.Client, p, locked)
			}
		}
		made.base, err = maker.Make(gctx, p)
		return err
	})
	g.Go(func() (err error) {
		names := append(runtime.Components(p), kubernetes.Components(p)...)
		if made.set, err = parts.Resolve(gctx, resolver, true, names...); err != nil {
			return err
		}
		select {
		case <-making:
			if beside != nil {
				beside(resolver)
			}
		case <-based:
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return made, nil
}

// key is that of the outputs.
func (r *resolved) key(opts Options, p *profiles.Profile) (string, error) {
	plans, err := provisioners.Plans(p, r.set)
	if err != nil {
		return "", err
	}
	digests := make([]string, 0, len(plans)+len(r.set.Images))
	for _, made := range plans {
		hash, err := made.Hash()
		if err != nil {
			return "", err
		}
		digests = append(digests, hash)
	}
	for _, image := range r.set.Images {
		digests = append(digests, image.Name+"@"+image.Digest)
	}
	tool, err := toolSHA256()
	if err != nil {
		return "", err
	}
	output, err := filepath.Abs(opts.OutputDir)
	if err != nil {
		return "", err
	}
	return store.Key("image", p.Hash(), r.base.Key, digests, opts.Formats, opts.DiskSize, output, tool)
}

// layer is that of the first provisioners.
func (r *resolved) layer(p *profiles.Profile, s *store.Store) (*layer, error) {
	plans, err := provisioners.Plans(p, r.set)
	if err != nil {
		return nil, err
	}
	return newLayer(s, r.base.Key, plans)
}

// toolSHA256 is the digest of this program. It stands for the code: between
// releases its version does not change, its bytes do. Asked for ahead, it is
// there when the rest of a key is.
var toolSHA256 = sync.OnceValues(func() (string, error) {
	return fileSHA256(context.Background(), "/proc/self/exe")
})

// recordPath is where the result of the build with that key is remembered.
func recordPath(s *store.Store, key string) string {
	return filepath.Join(s.Dir(), "builds", key+".json")
}

// upToDate returns the previous result when its files still are, byte for
// byte, what that build made. A record that cannot be read means a new build.
func upToDate(s *store.Store, key string, d digests) (Result, bool) {
	data, err := os.ReadFile(recordPath(s, key))
	if err != nil {
		return Result{}, false
	}
	var result Result
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&result) != nil || len(result.Files) == 0 {
		return Result{}, false
	}
	for _, file := range result.Files {
		sum, err := d.of(file)
		if err != nil || sum != result.SHA256[file] {
			return Result{}, false
		}
	}
	result.UpToDate = true
	return result, true
}

// remember keeps result under key, for upToDate.
func remember(s *store.Store, key string, result Result) error {
	data, err := json.Marshal(result)
	if err != nil {
		return err
	}
	path := recordPath(s, key)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("remembering the build: %w", err)
	}
	if err := renameio.WriteFile(path, data, 0o644); err != nil {
		return fmt.Errorf("remembering the build: %w", err)
	}
	return nil
}

// sums returns files with absolute paths, and the digest of each: the known one
// where there is one.
func sums(files []string, known map[string]string) ([]string, map[string]string, error) {
	paths := make([]string, len(files))
	all := make(map[string]string, len(files))
	for i, file := range files {
		path, err := filepath.Abs(file)
		if err != nil {
			return nil, nil, err
		}
		paths[i] = path
		if sum, ok := known[path]; ok {
			all[path] = sum
			continue
		}
		if all[path], err = fileSHA256(context.Background(), path); err != nil {
			return nil, nil, err
		}
	}
	return paths, all, nil
}
