// Package store keeps what is expensive to make, keyed by what it is made
// from. An entry is a directory that appears by rename, whole or not at all.
//
// Layout below the store's directory:
//
//	entries/<key>/index.json   name, size and sha256 of every file
//	entries/<key>/data/        what make wrote; the directory that Do returns
//	locks/<key>.lock           held while the entry is being made
//	locks/<key>.use            held by whoever uses the entry; its time is the last use
//	blobs/<2 digits>/<sha256>  single files, see Blob
//	tmp/<key>-<random>/        an entry in the making; stale once the lock is free
//	scratch/<prefix>-<random>/ and its .lock, see Scratch
//
// Locks are flock(2) locks: the kernel drops them when their owner dies, so a
// lock that can be taken proves that whatever it guarded has no owner any more.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// EnvDir is the environment variable that overrides the store's directory.
const EnvDir = "NODEIMAGE_CACHE"

// DefaultDir returns $NODEIMAGE_CACHE, else $XDG_CACHE_HOME/nodeimage, else
// ~/.cache/nodeimage.
func DefaultDir() (string, error) {
	if dir := os.Getenv(EnvDir); dir != "" {
		return filepath.Abs(dir)
	}
	if base := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "nodeimage"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || home == "" {
		return "", exitcode.BadInput(fmt.Errorf("no home directory to keep the cache in: set %s to a directory", EnvDir))
	}
	return filepath.Join(home, ".cache", "nodeimage"), nil
}

// Store is a directory of entries. It is safe for concurrent use by any
// number of goroutines and processes.
type Store struct {
	dir string

	heldMu sync.Mutex
	held   map[string]*os.File // by the name of what this process uses
}

// Open returns the store in dir, which is made when it is missing, and sweeps
// what killed owners left in it. A store that can only be read is opened too:
// it still serves the entries it has.
func Open(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the store %s: %w", dir, err)
	}
	if err := os.MkdirAll(abs, 0o755); err != nil {
		return nil, explain(abs, fmt.Errorf("opening the store: %w", err))
	}
	// Mount points are listed by their real paths.
	abs, err = filepath.EvalSymlinks(abs)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	s := &Store{dir: abs}
	if unix.Access(abs, unix.W_OK) != nil {
		return s, nil
	}
	for _, sub := range []string{entriesDir, locksDir, tmpDir, scratchDir} {
		if err := os.MkdirAll(filepath.Join(abs, sub), 0o755); err != nil {
			return nil, explain(abs, fmt.Errorf("opening the store: %w", err))
		}
	}
	if err := errors.Join(s.sweepTmp(), s.sweepScratch()); err != nil {
		return nil, explain(abs, fmt.Errorf("sweeping the store %s: %w", abs, err))
	}
	return s, nil
}

// Dir returns the absolute path of the store.
func (s *Store) Dir() string { return s.dir }

const (
	entriesDir = "entries"
	locksDir   = "locks"
	tmpDir     = "tmp"
	scratchDir = "scratch"
	dataDir    = "data"
)

var keyPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

func checkKey(key string) error {
	if !keyPattern.MatchString(key) {
		return fmt.Errorf("store key %q is not a hex sha256: make it with store.Key", key)
	}
	return nil
}

// Lookup returns the directory of the entry for key, and whether there is one
// that is whole. GC leaves it alone from then on while this process lives.
func (s *Store) Lookup(key string) (dir string, ok bool) {
	if checkKey(key) != nil {
		return "", false
	}
	entry := filepath.Join(s.dir, entriesDir, key)
	// It may go between being found and being held: look again.
	if checkSizes(entry) != nil || s.hold(key) != nil || checkSizes(entry) != nil {
		return "", false
	}
	return filepath.Join(entry, dataDir), true
}

// Verify reads the whole entry and compares it with what was written when it
// was made. It returns an error that wraps fs.ErrNotExist when there is none.
func (s *Store) Verify(key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := checkContents(filepath.Join(s.dir, entriesDir, key)); err != nil {
		return fmt.Errorf("store entry %s: %w", key, err)
	}
	return nil
}

// Do returns the directory of the entry for key. When there is none, or it has
// been damaged, make fills a directory, which becomes the entry once make has
// returned nil and every file is on disk. Of several callers with one key, in
// any process, one makes the entry and the others wait for it or for ctx.
//
// make's directory is empty, on the store's file system, and must not be
// referred to after make returns. When make fails nothing of it is left.
//
// Errors: make's own; a store that cannot be written is bad input, a full
// disk is an infrastructure failure.
func (s *Store) Do(ctx context.Context, key string, make func(ctx context.Context, dir string) error) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	if dir, ok := s.Lookup(key); ok {
		return dir, nil
	}
	lock, err := LockFile(ctx, s.lockPath(key))
	if err != nil {
		return "", explain(s.dir, fmt.Errorf("locking store entry %s: %w", key, err))
	}
	defer lock.Close()
	if err := s.sweepKey(key); err != nil {
		return "", explain(s.dir, fmt.Errorf("sweeping store entry %s: %w", key, err))
	}
	if dir, ok := s.Lookup(key); ok {
		return dir, nil
	}
	tmp, err := os.MkdirTemp(filepath.Join(s.dir, tmpDir), key+"-")
	if err != nil {
		return "", explain(s.dir, fmt.Errorf("making store entry %s: %w", key, err))
	}
	if err := s.fill(ctx, key, tmp, make); err != nil {
		err = explain(s.dir, err)
		if rmErr := removeTree(tmp); rmErr != nil {
			err = errors.Join(err, rmErr)
		}
		return "", err
	}
	return filepath.Join(s.dir, entriesDir, key, dataDir), nil
}

func (s *Store) fill(ctx context.Context, key, tmp string, make func(ctx context.Context, dir string) error) error {
	// MkdirTemp makes 0700; entries may be read by other users.
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	data := filepath.Join(tmp, dataDir)
	if err := os.Mkdir(data, 0o755); err != nil {
		return err
	}
	if err := make(ctx, data); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := writeIndex(tmp); err != nil {
		return fmt.Errorf("writing store entry %s: %w", key, err)
	}
	entry := filepath.Join(s.dir, entriesDir, key)
	// What is here now failed Lookup under the lock: it is damaged.
	if _, err := os.Lstat(entry); err == nil {
		damaged := tmp + "-damaged"
		if err := os.Rename(entry, damaged); err != nil {
			return fmt.Errorf("replacing the damaged store entry %s: %w", key, err)
		}
		if err := removeTree(damaged); err != nil {
			return err
		}
	}
	if err := s.hold(key); err != nil {
		return err
	}
	if err := os.Rename(tmp, entry); err != nil {
		return fmt.Errorf("writing store entry %s: %w", key, err)
	}
	return syncPath(filepath.Dir(entry))
}

func (s *Store) lockPath(key string) string {
	return filepath.Join(s.dir, locksDir, key+".lock")
}

// sweepKey removes what dead makers of key left. The caller holds key's lock.
func (s *Store) sweepKey(key string) error {
	stale, err := filepath.Glob(filepath.Join(s.dir, tmpDir, key+"-*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range stale {
		errs = append(errs, removeTree(path))
	}
	return errors.Join(errs...)
}

// sweepTmp removes what dead makers left, and leaves what live ones work on.
func (s *Store) sweepTmp() error {
	found, err := os.ReadDir(filepath.Join(s.dir, tmpDir))
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range found {
		key, _, _ := strings.Cut(f.Name(), "-")
		if checkKey(key) != nil {
			continue // not ours
		}
		lock, err := TryLockFile(s.lockPath(key))
		if errors.Is(err, errLocked) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, s.sweepKey(key), lock.Close())
	}
	return errors.Join(errs...)
}

// explain classifies err and says what can be done about it.
func explain(dir string, err error) error {
	// Open makes no directories in a store that can only be read: it is for this
	// that they are missing.
	if denied := unix.Access(dir, unix.W_OK); denied != nil && errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", err, denied)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT),
		// A child process can only report it in words.
		strings.Contains(err.Error(), unix.ENOSPC.Error()),
		strings.Contains(err.Error(), unix.EDQUOT.Error()):
		return exitcode.Transient(fmt.Errorf("%w: the file system of the store %s is full (%s): free some space, or set %s to a directory on another file system",
			err, dir, freeSpace(dir), EnvDir))
	case errors.Is(err, unix.EROFS), errors.Is(err, fs.ErrPermission), errors.Is(err, unix.ENOTDIR):
		var pathErr *fs.PathError
		var linkErr *os.LinkError
		path := ""
		if errors.As(err, &pathErr) {
			path = pathErr.Path
		} else if errors.As(err, &linkErr) {
			path = linkErr.New
		}
		// make may have been refused something that is not the store's.
		if path != dir && !strings.HasPrefix(path, dir+"/") && !strings.HasPrefix(dir, path+"/") {
			return err
		}
		return exitcode.BadInput(fmt.Errorf("%w: the store %s cannot be written: make it writable, or set %s to a directory that is", err, dir, EnvDir))
	}
	return err
}

func freeSpace(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "free space unknown"
	}
	return fmt.Sprintf("%d MiB free", st.Bavail*uint64(st.Bsize)>>20)
}
