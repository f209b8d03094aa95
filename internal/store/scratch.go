package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Scratch returns an empty directory on the store's file system for work that
// is thrown away, and the function that removes it, which may be called more
// than once. Should the process be killed, the next Open or Scratch on the
// store removes the directory: a lock on it shows whether its owner lives.
// What is still mounted below it then is unmounted first.
func (s *Store) Scratch(prefix string) (dir string, release func() error, err error) {
	if prefix == "" || strings.ContainsAny(prefix, "/*?[\\") {
		return "", nil, fmt.Errorf("scratch prefix %q: expected a plain, non-empty name", prefix)
	}
	if err := s.sweepScratch(); err != nil {
		return "", nil, explain(s.dir, fmt.Errorf("sweeping scratch directories: %w", err))
	}
	for {
		// The lock file is made first and removed last, so there is never
		// a directory that a sweeper could take for an orphan.
		f, err := os.CreateTemp(filepath.Join(s.dir, scratchDir), prefix+"-*.lock")
		if err != nil {
			return "", nil, explain(s.dir, fmt.Errorf("making a scratch directory: %w", err))
		}
		path := f.Name()
		f.Close()
		lock, err := TryLockFile(path)
		if errors.Is(err, errLocked) {
			continue // a sweeper was faster
		}
		if err != nil {
			return "", nil, explain(s.dir, fmt.Errorf("making a scratch directory: %w", err))
		}
		dir = strings.TrimSuffix(path, ".lock")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", nil, explain(s.dir, errors.Join(fmt.Errorf("making a scratch directory: %w", err), os.Remove(path), lock.Close()))
		}
		return dir, sync.OnceValue(func() error { return releaseScratch(dir, lock) }), nil
	}
}

// releaseScratch removes dir and its lock file. When dir cannot be removed the
// lock is freed all the same, so that a later sweep can try again.
func releaseScratch(dir string, lock *os.File) error {
	err := removeTree(dir)
	if err == nil {
		err = os.Remove(dir + ".lock")
	}
	return errors.Join(err, lock.Close())
}

// sweepScratch removes the scratch directories whose owners are dead.
func (s *Store) sweepScratch() error {
	root := filepath.Join(s.dir, scratchDir)
	found, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, f := range found {
		names[strings.TrimSuffix(f.Name(), ".lock")] = true
	}
	var errs []error
	for name := range names {
		dir := filepath.Join(root, name)
		lock, err := TryLockFile(dir + ".lock")
		if errors.Is(err, errLocked) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, releaseScratch(dir, lock))
	}
	return errors.Join(errs...)
}
