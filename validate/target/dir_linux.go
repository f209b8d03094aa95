package target

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	oTmpfile  = unix.O_TMPFILE
	oNonblock = unix.O_NONBLOCK
)

// dirRoot is a directory of the host that is the root of a view. Names are
// resolved by view, one component at a time; what reaches the host's kernel
// are paths that had no link in them a moment ago, opened so that a link that
// somebody has put there since is refused and not followed.
type dirRoot struct {
	f *os.File // O_PATH
	// walk opens component by component, for kernels before 5.6 and for
	// sandboxes that forbid openat2.
	walk bool
}

func openDir(p string) (*view, io.Closer, error) {
	f, err := os.OpenFile(p, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, nil, err
	}
	d := &dirRoot{f: f}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, nil, os.NewSyscallError("fstat", err)
	}
	return &view{&dirNode{d, ".", st}}, f, nil
}

// open opens a path that must not lead through symbolic links.
func (d *dirRoot) open(p string, flags int) (int, error) {
	flags |= unix.O_CLOEXEC | unix.O_NOFOLLOW
	fd := int(d.f.Fd())
	if !d.walk {
		how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS}
		got, err := unix.Openat2(fd, p, &how)
		// EAGAIN: something was renamed meanwhile, and the kernel cannot
		// tell that it stayed below the root.
		if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EAGAIN) {
			return got, err
		}
	}
	parts := strings.Split(p, "/")
	at := fd
	for i, c := range parts {
		f := unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW
		if i == len(parts)-1 {
			f = flags
		}
		next, err := unix.Openat(at, c, f, 0)
		if at != fd {
			unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at = next
	}
	return at, nil
}

// dirNode is one file below a dirRoot.
type dirNode struct {
	d    *dirRoot
	path string
	st   unix.Stat_t
}

func (n *dirNode) kind() fs.FileMode { return unixMode(uint32(n.st.Mode)).Type() }

func unixMode(m uint32) fs.FileMode {
	out := fs.FileMode(m & 0o777)
	switch m & unix.S_IFMT {
	case unix.S_IFDIR:
		out |= fs.ModeDir
	case unix.S_IFLNK:
		out |= fs.ModeSymlink
	case unix.S_IFIFO:
		out |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		out |= fs.ModeSocket
	case unix.S_IFBLK:
		out |= fs.ModeDevice
	case unix.S_IFCHR:
		out |= fs.ModeDevice | fs.ModeCharDevice
	}
	if m&unix.S_ISUID != 0 {
		out |= fs.ModeSetuid
	}
	if m&unix.S_ISGID != 0 {
		out |= fs.ModeSetgid
	}
	if m&unix.S_ISVTX != 0 {
		out |= fs.ModeSticky
	}
	return out
}

func (n *dirNode) stat(name string) (*info, error) { return unixInfo(name, &n.st), nil }

func unixInfo(name string, st *unix.Stat_t) *info {
	return &info{
		name: name, size: st.Size, mode: unixMode(uint32(st.Mode)),
		modTime: time.Unix(st.Mtim.Unix()).UTC(),
		sys: Sys{
			UID: st.Uid, GID: st.Gid, Links: uint64(st.Nlink), Inode: st.Ino, Allocated: st.Blocks * 512,
			Major: unix.Major(uint64(st.Rdev)), Minor: unix.Minor(uint64(st.Rdev)),
		},
	}
}

func (n *dirNode) child(name string, dirfd int) (*dirNode, error) {
	c := &dirNode{d: n.d, path: path.Join(n.path, name)}
	if err := unix.Fstatat(dirfd, name, &c.st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, err
	}
	return c, nil
}

func (n *dirNode) lookup(name string) (node, error) {
	fd, err := n.d.open(n.path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	c, err := n.child(name, fd)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (n *dirNode) list(yield func(listed) bool) error {
	fd, err := n.d.open(n.path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), n.path)
	defer f.Close()
	for {
		// Names only: os.File would look the rest up by a path of the host.
		names, err := f.Readdirnames(1024)
		for _, name := range names {
			c, serr := n.child(name, fd)
			if errors.Is(serr, fs.ErrNotExist) {
				continue // removed meanwhile: live systems have /proc
			}
			if serr != nil {
				return serr
			}
			if !yield(listed{name, c.kind(), func() (node, error) { return c, nil }}) {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (n *dirNode) readlink() (string, error) {
	fd, err := n.d.open(path.Dir(n.path), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	b := make([]byte, 4096) // PATH_MAX
	k, err := unix.Readlinkat(fd, path.Base(n.path), b)
	if err != nil {
		return "", err
	}
	if k == len(b) {
		return "", unix.ENAMETOOLONG
	}
	return string(b[:k]), nil
}

// open looks at the file before it opens it for reading, since opening alone
// blocks on a pipe and can rewind a tape.
func (n *dirNode) open(name string) (File, error) {
	look, err := n.d.open(n.path, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	var before, after unix.Stat_t
	err = unix.Fstat(look, &before)
	unix.Close(look)
	if err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if m := unixMode(uint32(before.Mode)); !m.IsRegular() {
		return nil, fmt.Errorf("is now a %s, want a regular file", kindName(m))
	}
	fd, err := n.d.open(n.path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	if err := unix.Fstat(fd, &after); err != nil || after.Dev != before.Dev || after.Ino != before.Ino {
		unix.Close(fd)
		return nil, errors.Join(errors.New("was replaced while it was opened"), err)
	}
	return &hostFile{os.NewFile(uintptr(fd), n.path), unixInfo(name, &after)}, nil
}

// hostFile is an open file of the host under its name in the view.
type hostFile struct {
	*os.File
	fi fs.FileInfo
}

func (f *hostFile) Stat() (fs.FileInfo, error) { return f.fi, nil }

func (n *dirNode) xattrs() (map[string][]byte, error) {
	fd, err := n.d.open(path.Dir(n.path), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	// There is no llistxattrat before Linux 6.13; this is the same.
	p := fmt.Sprintf("/proc/self/fd/%d/%s", fd, path.Base(n.path))
	list := make([]byte, 64<<10) // XATTR_LIST_MAX
	k, err := unix.Llistxattr(p, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, os.NewSyscallError("llistxattr", err)
	}
	out := map[string][]byte{}
	for _, name := range strings.Split(strings.TrimRight(string(list[:k]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		val := make([]byte, 64<<10) // XATTR_SIZE_MAX
		k, err := unix.Lgetxattr(p, name, val)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("lgetxattr "+name, err)
		}
		out[name] = val[:k:k]
	}
	return out, nil
}
