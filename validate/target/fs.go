package target

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// MaxReadFile is what ReadFile returns at most, in bytes. A configuration file
// is smaller; for others there are ReadFileMax and Open.
const MaxReadFile = 16 << 20

// FS is a read-only view of a file system. Names are those of io/fs: relative
// to the root of the image, without a leading slash ("etc/fstab", "." for the
// root); Rel makes one of an absolute path.
//
// Symbolic links are resolved inside the image as the booted system would:
// absolute targets start at the image's root, ".." stops there, and more than
// 40 links or 1000 components in one name are an error (syscall.ELOOP). No name
// ever leads to a file of the host. All methods are safe for concurrent use.
//
// Errors are *fs.PathError. A missing file is fs.ErrNotExist; damaged content
// carries exit code 2.
type FS interface {
	// Open opens a regular file, as a File, or a directory. Pipes, sockets
	// and devices are refused without being touched.
	fs.FS
	// Stat follows links; Lstat does not. SysOf tells what they return
	// beyond fs.FileInfo.
	fs.StatFS
	// ReadLink returns a link's target as stored.
	fs.ReadLinkFS
	// ReadDir lists a directory in the order of names. Info of an entry
	// describes a link itself.
	fs.ReadDirFS
	// ReadFile is ReadFileMax with MaxReadFile.
	fs.ReadFileFS
	// ReadFileMax returns a regular file's content, and an error if that
	// is longer than max bytes.
	ReadFileMax(name string, max int64) ([]byte, error)
	// Resolve returns the name with all links resolved.
	Resolve(name string) (string, error)
	// Xattrs returns the extended attributes of a file or, without
	// following it, of a link. Access control lists are in the form that
	// the target stores them in.
	Xattrs(name string) (map[string][]byte, error)
}

// File is an open regular file of an FS.
type File interface {
	fs.File
	io.ReaderAt
	io.Seeker
}

// Sys is what fs.FileInfo has no place for.
type Sys struct {
	UID, GID     uint32
	Links        uint64
	Inode        uint64 // 0 when the target has none (tar, FAT)
	Allocated    int64  // bytes on disk; less than the size for a sparse file; -1 if unknown
	Major, Minor uint32 // of a device
}

// SysOf returns the rest of what an FS of this package knows about a file.
func SysOf(fi fs.FileInfo) (Sys, bool) {
	s, ok := fi.Sys().(*Sys)
	if !ok {
		return Sys{}, false
	}
	return *s, true
}

// info implements fs.FileInfo.
type info struct {
	name    string
	size    int64
	mode    fs.FileMode
	modTime time.Time
	sys     Sys
}

func (i *info) Name() string       { return i.name }
func (i *info) Size() int64        { return i.size }
func (i *info) Mode() fs.FileMode  { return i.mode }
func (i *info) ModTime() time.Time { return i.modTime }
func (i *info) IsDir() bool        { return i.mode.IsDir() }
func (i *info) Sys() any           { return &i.sys }

// Capabilities are a file's capabilities, as in capabilities(7).
type Capabilities struct {
	Permitted, Inheritable uint64 // bit n is capability n
	Effective              bool
	RootID                 uint32 // of the user name space that they hold in; 0 is the first
}

// FileCapabilities reads the capabilities of a file; ok is false when it has
// none.
func FileCapabilities(fsys FS, name string) (c Capabilities, ok bool, err error) {
	x, err := fsys.Xattrs(name)
	if err != nil {
		return c, false, err
	}
	b, ok := x["security.capability"]
	if !ok {
		return c, false, nil
	}
	c, err = parseCapabilities(b)
	if err != nil {
		return c, false, &fs.PathError{Op: "capabilities", Path: name, Err: err}
	}
	return c, true, nil
}

// parseCapabilities decodes struct vfs_ns_cap_data of linux/capability.h.
func parseCapabilities(b []byte) (Capabilities, error) {
	le := binary.LittleEndian
	revision := byte(0)
	if len(b) >= 4 {
		revision = b[3]
	}
	want := map[byte]int{1: 12, 2: 20, 3: 24}[revision]
	if want == 0 || len(b) != want {
		return Capabilities{}, badf("security.capability of %d bytes, revision %d: want revision 1 to 3 with 12, 20 or 24 bytes", len(b), revision)
	}
	c := Capabilities{
		Effective:   b[0]&1 != 0,
		Permitted:   uint64(le.Uint32(b[4:])),
		Inheritable: uint64(le.Uint32(b[8:])),
	}
	if revision >= 2 {
		c.Permitted |= uint64(le.Uint32(b[12:])) << 32
		c.Inheritable |= uint64(le.Uint32(b[16:])) << 32
	}
	if revision == 3 {
		c.RootID = le.Uint32(b[20:])
	}
	return c, nil
}

// imageFile is a regular file whose bytes lie somewhere in an image.
type imageFile struct {
	*io.SectionReader
	fi fs.FileInfo
}

func newImageFile(r io.ReaderAt, fi fs.FileInfo) File {
	return imageFile{io.NewSectionReader(r, 0, fi.Size()), fi}
}

func (f imageFile) Stat() (fs.FileInfo, error) { return f.fi, nil }
func (f imageFile) Close() error               { return nil }

// dirFile is an open directory.
type dirFile struct {
	v    *view
	name string
	fi   fs.FileInfo
	list []fs.DirEntry
	read bool
}

func (d *dirFile) Stat() (fs.FileInfo, error) { return d.fi, nil }
func (d *dirFile) Close() error               { return nil }
func (d *dirFile) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: fmt.Errorf("is a directory")}
}

// ReadDir implements fs.ReadDirFile.
func (d *dirFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if !d.read {
		list, err := d.v.ReadDir(d.name)
		if err != nil {
			return nil, err
		}
		d.list, d.read = list, true
	}
	if n <= 0 {
		out := d.list
		d.list = nil
		return out, nil
	}
	if len(d.list) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.list))
	out := d.list[:n:n]
	d.list = d.list[n:]
	return out, nil
}
