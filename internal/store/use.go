package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// hold keeps GC and repair, in any process, from removing what name stands for
// until this process ends, and remembers when it was used last. A store that can
// only be read is not held: nobody who could remove from it is kept off by it.
func (s *Store) hold(name string) error {
	s.heldMu.Lock()
	defer s.heldMu.Unlock()
	if s.held[name] != nil {
		return nil
	}
	f, err := s.openUse(name)
	if errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	// Who has it exclusively holds it for the time of one rename.
	if err := flock(f, unix.LOCK_SH); err != nil {
		return errors.Join(fmt.Errorf("holding store entry %s: %w", name, err), f.Close())
	}
	now := time.Now()
	_ = os.Chtimes(f.Name(), now, now) // a wrong time costs an entry at worst
	if s.held == nil {
		s.held = map[string]*os.File{}
	}
	s.held[name] = f
	return nil
}

func (s *Store) usePath(name string) string { return filepath.Join(s.dir, locksDir, name+".use") }

// openUse opens for reading, which a lock can do with: a file system that is to
// become read-only waits for nobody who writes.
func (s *Store) openUse(name string) (*os.File, error) {
	return os.OpenFile(s.usePath(name), os.O_RDONLY|os.O_CREATE, 0o644)
}

// alone calls do while nobody holds name, and returns errLocked when somebody
// does. The file stays: to remove it would take the lock from under a holder.
func (s *Store) alone(name string, do func() error) error {
	f, err := s.openUse(name)
	if err != nil {
		return err
	}
	defer f.Close()
	switch err := flock(f, unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return errLocked
	case err != nil:
		return err
	}
	return do()
}

// lastUse is when name was last held, or else when path was last changed.
func (s *Store) lastUse(name, path string) time.Time {
	for _, p := range []string{s.usePath(name), path} {
		if info, err := os.Stat(p); err == nil {
			return info.ModTime()
		}
	}
	return time.Time{}
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// removeEntry takes the entry out of sight while nobody holds it, then removes it.
func (s *Store) removeEntry(key string) error {
	lock, err := TryLockFile(s.lockPath(key)) // nobody makes it, or sweeps what is left of it
	if err != nil {
		return err
	}
	defer lock.Close()
	gone := filepath.Join(s.dir, tmpDir, key+"-removed")
	if err := removeTree(gone); err != nil {
		return err
	}
	err = s.alone(key, func() error { return os.Rename(filepath.Join(s.dir, entriesDir, key), gone) })
	if err != nil {
		return err
	}
	return removeTree(gone)
}

// removeBlob removes a blob while nobody uses any.
func (s *Store) removeBlob(sum string) error {
	return s.alone(blobsUse, func() error { return os.Remove(s.blobPath(sum)) })
}
