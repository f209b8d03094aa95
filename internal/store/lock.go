package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

var errLocked = errors.New("locked by another owner")

// LockFile opens path, which is made when it is missing, and takes an
// exclusive lock on it, waiting until ctx is done. Closing the file frees the
// lock. The file that is returned was not renamed or removed by another owner.
func LockFile(ctx context.Context, path string) (*os.File, error) {
	// flock(2) cannot be interrupted by a context, so it is polled; a waiter
	// waits for minutes of compiling, a tenth of a second does not matter.
	const longest = 100 * time.Millisecond
	for wait := time.Millisecond; ; wait = min(2*wait, longest) {
		f, err := TryLockFile(path)
		if !errors.Is(err, errLocked) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lock %s: %w", path, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// TryLockFile is LockFile without waiting: it fails, with errLocked, when path
// has an owner.
func TryLockFile(path string) (*os.File, error) {
	// O_CLOEXEC comes with os.OpenFile: a child must not keep our lock.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return nil, errLocked
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	// A sweeper may have unlinked the file between open and flock; a lock on
	// a file that has no name guards nothing.
	if !sameFile(f, path) {
		f.Close()
		return nil, errLocked
	}
	return f, nil
}

func sameFile(f *os.File, path string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(opened, named)
}
