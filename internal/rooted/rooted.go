// Package rooted accesses files below a directory that is the root of another
// system. Symbolic links of that system, absolute ones too, are followed as it
// would follow them itself and never lead out of the directory.
package rooted

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is a root directory. It is safe for concurrent use.
type Dir struct {
	name string
	root *os.File
}

// Open opens the directory name as a root. Close releases it.
func Open(name string) (*Dir, error) {
	f, err := os.OpenFile(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the root directory: %w", err)
	}
	return &Dir{name: name, root: f}, nil
}

// Close releases the directory; files opened before stay open.
func (d *Dir) Close() error { return d.root.Close() }

// Name is the path that Open was given.
func (d *Dir) Name() string { return d.name }

// retries bounds openat2's EAGAIN, which it returns when something below the
// root is renamed while it looks.
const retries = 128

// OpenFile opens the file that the system with this root would open under
// name; flag and perm are those of os.OpenFile. perm is exact: the umask does
// not count. Relative names start at the root.
func (d *Dir) OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   uint64(flag) | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	if flag&(os.O_CREATE|unix.O_TMPFILE) != 0 {
		how.Mode = uint64(ModeBits(perm))
	}
	name = inner(name)
	var err error
	for range retries {
		var fd int
		fd, err = unix.Openat2(int(d.root.Fd()), name, &how)
		if err == nil {
			return os.NewFile(uintptr(fd), path.Join(d.name, name)), nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return nil, &fs.PathError{Op: "open", Path: path.Join(d.name, name), Err: err}
}

// ReadFile returns the content of a regular file. Anything else is an error:
// reading a FIFO or a device of an image could block.
func (d *Dir) ReadFile(name string) ([]byte, error) {
	f, err := d.OpenRegular(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	return data, nil
}

// OpenRegular opens a regular file for reading.
func (d *Dir) OpenRegular(name string) (*os.File, error) {
	f, err := d.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "read", Path: f.Name(), Err: fmt.Errorf("is not a regular file (%s)", info.Mode())}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// SHA256 is the digest of a regular file's content, in hexadecimal.
func (d *Dir) SHA256(name string) (string, error) {
	f, err := d.OpenRegular(name)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, f.Close())
}

// WriteFile makes the regular file name hold data, with exactly perm. Parents
// that are missing are made with mode 0755.
func (d *Dir) WriteFile(name string, data []byte, perm fs.FileMode) (err error) {
	f, err := d.Create(name, perm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// Create opens a regular file for writing, emptied and with exactly perm.
// Parents that are missing are made with mode 0755.
func (d *Dir) Create(name string, perm fs.FileMode) (*os.File, error) {
	if err := d.MkdirAll(path.Dir(inner(name)), 0o755); err != nil {
		return nil, err
	}
	f, err := d.OpenFile(name, os.O_WRONLY|os.O_CREATE|unix.O_NONBLOCK|unix.O_NOCTTY, perm)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = &fs.PathError{Op: "write", Path: f.Name(), Err: fmt.Errorf("is not a regular file (%s)", info.Mode())}
	default:
		err = errors.Join(f.Truncate(0), unix.Fchmod(int(f.Fd()), ModeBits(perm)))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// MkdirAll makes the directory name and its missing parents with mode perm.
// Directories that are there keep theirs.
func (d *Dir) MkdirAll(name string, perm fs.FileMode) error {
	name = inner(name)
	if name == "." {
		return nil
	}
	if f, err := d.OpenFile(name, unix.O_PATH|unix.O_DIRECTORY, 0); err == nil {
		return f.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.MkdirAll(path.Dir(name), perm); err != nil {
		return err
	}
	return d.inParent(name, func(dirfd int, base string) error {
		err := unix.Mkdirat(dirfd, base, ModeBits(perm))
		if errors.Is(err, unix.EEXIST) {
			// Another caller was faster, or it is a link to nothing.
			f, err := d.OpenFile(name, unix.O_PATH|unix.O_DIRECTORY, 0)
			if err != nil {
				return err
			}
			return f.Close()
		}
		if err != nil {
			return err
		}
		return unix.Fchmodat(dirfd, base, ModeBits(perm), 0)
	})
}

// Chmod sets the mode of a file or directory, following links in the root.
func (d *Dir) Chmod(name string, perm fs.FileMode) error {
	f, err := d.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fchmod(int(f.Fd()), ModeBits(perm))
}

// Symlink makes name a symbolic link with exactly this target, in the place of
// whatever was there unless that is a directory.
func (d *Dir) Symlink(target, name string) error {
	return d.inParent(name, func(dirfd int, base string) error {
		if err := unix.Unlinkat(dirfd, base, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		return unix.Symlinkat(target, dirfd, base)
	})
}

// Readlink returns the target of the symbolic link name as it is stored.
func (d *Dir) Readlink(name string) (target string, err error) {
	err = d.inParent(name, func(dirfd int, base string) error {
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dirfd, base, buf)
		target = string(buf[:max(n, 0)])
		return err
	})
	return target, err
}

// Remove removes the file, link or empty directory name, not what a link
// leads to. A name that is not there is no error.
func (d *Dir) Remove(name string) error {
	err := d.inParent(name, func(dirfd int, base string) error {
		err := unix.Unlinkat(dirfd, base, 0)
		if errors.Is(err, unix.EISDIR) {
			err = unix.Unlinkat(dirfd, base, unix.AT_REMOVEDIR)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Stat describes what name leads to; Lstat what name is itself.
func (d *Dir) Stat(name string) (fs.FileInfo, error) { return d.stat(name, 0) }

// Lstat describes name itself and follows no link in its last element.
func (d *Dir) Lstat(name string) (fs.FileInfo, error) { return d.stat(name, unix.O_NOFOLLOW) }

func (d *Dir) stat(name string, flag int) (fs.FileInfo, error) {
	f, err := d.OpenFile(name, unix.O_PATH|flag, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Stat()
}

// ReadDir lists a directory by name.
func (d *Dir) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := d.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

// inParent calls fn with name's parent directory, found inside the root, and
// name's last element.
func (d *Dir) inParent(name string, fn func(dirfd int, base string) error) error {
	name = inner(name)
	if name == "." {
		return &fs.PathError{Op: "change", Path: d.name, Err: errors.New("is the root itself")}
	}
	parent, err := d.OpenFile(path.Dir(name), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := fn(int(parent.Fd()), path.Base(name)); err != nil {
		return &fs.PathError{Op: "change", Path: path.Join(d.name, name), Err: err}
	}
	return nil
}

// inner turns name into a relative path. Its .. elements stay: where they lead
// depends on links before them, and the kernel keeps them in the root.
func inner(name string) string {
	name = strings.TrimLeft(name, "/")
	if !strings.Contains(name, "..") {
		return path.Clean(name)
	}
	if name = strings.TrimRight(name, "/"); name == "" {
		return "."
	}
	return name
}

// ModeBits returns the permission bits of mode, with set-user-ID, set-group-ID
// and sticky, as system calls take them.
func ModeBits(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	for flag, bit := range map[fs.FileMode]uint32{
		fs.ModeSetuid: unix.S_ISUID, fs.ModeSetgid: unix.S_ISGID, fs.ModeSticky: unix.S_ISVTX,
	} {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}
