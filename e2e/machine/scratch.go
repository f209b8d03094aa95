package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// scratch is a directory that only one running process owns. It holds what
// must not outlive the machine: the overlay, the seed with the host key, the
// sockets.
type scratch struct {
	path string
	lock *os.File
}

// maxSocketPath is what fits into sockaddr_un, the final zero included.
const maxSocketPath = 108

// newScratch makes a scratch directory below base and removes those whose
// owners died without doing so. The kernel drops a lock with its owner however
// that ends, so a directory that can be locked belongs to nobody.
func newScratch(base string) (_ *scratch, err error) {
	root := filepath.Join(base, "nodeimage-machine-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("making the scratch directory: %w", err)
	}
	if err := checkOwn(root); err != nil {
		return nil, err
	}
	// Between a directory's making and its locking it looks abandoned, so
	// makers and sweepers take turns.
	turn, err := lockDir(root, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, turn.Close()) }()
	if err := sweep(root); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(root, "")
	if err != nil {
		return nil, fmt.Errorf("making the scratch directory: %w", err)
	}
	lock, err := lockDir(path, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	s := &scratch{path: path, lock: lock}
	if socket := s.file("qmp"); len(socket) >= maxSocketPath {
		return nil, errors.Join(
			fmt.Errorf("the socket %s has a name of %d bytes, and %d is the most: choose a shorter scratch directory (TMPDIR)",
				socket, len(socket), maxSocketPath-1), s.remove())
	}
	return s, nil
}

// checkOwn refuses a directory that somebody else put there first: the base
// is often writable for all.
func checkOwn(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("looking at the scratch directory %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Getuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("the scratch directory %s is not this user's alone: remove it or choose another (TMPDIR)", path)
	}
	return nil
}

func lockDir(path string, how int) (*os.File, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("locking a directory: %w", err)
	}
	for {
		err = unix.Flock(int(dir.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), dir.Close())
	}
	return dir, nil
}

// sweep removes the directories below root that no living process owns.
func sweep(root string) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("sweeping %s: %w", root, err)
	}
	for _, entry := range entries {
		path := filepath.Join(root, entry.Name())
		lock, err := lockDir(path, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(os.RemoveAll(path), lock.Close()); err != nil {
			return fmt.Errorf("removing what a killed process left: %w", err)
		}
	}
	return nil
}

// file returns the path of a file in the directory.
func (s *scratch) file(name string) string { return filepath.Join(s.path, name) }

// remove deletes the directory and gives it up.
func (s *scratch) remove() error { return errors.Join(os.RemoveAll(s.path), s.lock.Close()) }
