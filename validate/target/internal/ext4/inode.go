package ext4

import (
	"encoding/binary"
	"io"
	"io/fs"
	"sync/atomic"
	"time"
)

const (
	flagEncrypt = 0x800
	flagExtents = 0x80000
	flagEAInode = 0x200000
	flagInline  = 0x10000000
)

// Inode is one file, directory, link or device.
type Inode struct {
	Number       uint32
	Mode         fs.FileMode // type and permissions, setuid, setgid and sticky included
	UID, GID     uint32
	Size         int64
	Links        uint16
	ModTime      time.Time
	Allocated    int64  // bytes that the file system has given to it
	Major, Minor uint32 // of a device

	fs    *FS
	flags uint32
	acl   uint64 // block with extended attributes, or 0
	raw   []byte // the inode as stored
	last  atomic.Pointer[mapping]
}

// Root returns the root directory.
func (f *FS) Root() (*Inode, error) { return f.Inode(rootInode) }

// Inode reads inode number n.
func (f *FS) Inode(n uint32) (*Inode, error) {
	if n == 0 || n > f.inodes {
		return nil, corrupt("inode %d, the file system has 1 to %d", n, f.inodes)
	}
	group := uint64(n-1) / uint64(f.inodesPerGroup)
	if group >= f.groups {
		return nil, corrupt("inode %d lies in group %d of %d", n, group, f.groups)
	}
	table, err := f.inodeTable(group)
	if err != nil {
		return nil, err
	}
	at := uint64((n-1)%f.inodesPerGroup) * uint64(f.inodeSize)
	b := make([]byte, f.inodeSize)
	if err := f.readBlock(b, table+at/uint64(f.blockSize), uint32(at%uint64(f.blockSize)), "inode"); err != nil {
		return nil, err
	}
	return f.parseInode(n, b)
}

func (f *FS) parseInode(n uint32, b []byte) (*Inode, error) {
	le := binary.LittleEndian
	mode := le.Uint16(b)
	in := &Inode{
		Number: n, fs: f, raw: b,
		UID:   uint32(le.Uint16(b[2:])) | uint32(le.Uint16(b[0x78:]))<<16,
		GID:   uint32(le.Uint16(b[0x18:])) | uint32(le.Uint16(b[0x7a:]))<<16,
		Links: le.Uint16(b[0x1a:]),
		flags: le.Uint32(b[0x20:]),
		acl:   uint64(le.Uint32(b[0x68:])) | uint64(le.Uint16(b[0x76:]))<<32,
	}
	var ok bool
	if in.Mode, ok = fileMode(mode); !ok {
		return nil, corrupt("inode %d: mode %#o has no known file type", n, mode)
	}
	size := uint64(le.Uint32(b[4:]))
	if in.Mode.IsRegular() || in.Mode.IsDir() && f.incompat&incompLargeD != 0 {
		size |= uint64(le.Uint32(b[0x6c:])) << 32
	}
	if size > 1<<62 {
		return nil, corrupt("inode %d: size %d", n, size)
	}
	in.Size = int64(size)
	alloc := uint64(le.Uint32(b[0x1c:])) | uint64(le.Uint16(b[0x74:]))<<32
	if in.flags&0x40000 != 0 { // huge_file: counted in blocks
		in.Allocated = int64(alloc * uint64(f.blockSize))
	} else {
		in.Allocated = int64(alloc * 512)
	}
	sec, nsec := int64(int32(le.Uint32(b[0x10:]))), int64(0)
	if len(b) >= 0x8c && le.Uint16(b[0x80:]) >= 12 { // i_mtime_extra is within i_extra_isize
		x := le.Uint32(b[0x88:])
		sec += int64(x&3) << 32
		nsec = int64(x >> 2)
	}
	in.ModTime = time.Unix(sec, nsec).UTC()
	if in.Mode&fs.ModeDevice != 0 {
		in.Major, in.Minor = device(le.Uint32(b[0x28:]), le.Uint32(b[0x2c:]))
	}
	return in, nil
}

// device decodes the two encodings of a device number: the old 8+8 bits in the
// first word, or the new 12+20 bits in the second.
func device(old, wide uint32) (major, minor uint32) {
	if old != 0 {
		return old >> 8 & 0xff, old & 0xff
	}
	return wide >> 8 & 0xfff, wide&0xff | wide>>12&0xfff00
}

func fileMode(m uint16) (fs.FileMode, bool) {
	out := fs.FileMode(m & 0o777)
	switch m & 0xf000 {
	case 0x8000:
	case 0x4000:
		out |= fs.ModeDir
	case 0xa000:
		out |= fs.ModeSymlink
	case 0x2000:
		out |= fs.ModeDevice | fs.ModeCharDevice
	case 0x6000:
		out |= fs.ModeDevice
	case 0x1000:
		out |= fs.ModeNamedPipe
	case 0xc000:
		out |= fs.ModeSocket
	default:
		return 0, false
	}
	if m&0o4000 != 0 {
		out |= fs.ModeSetuid
	}
	if m&0o2000 != 0 {
		out |= fs.ModeSetgid
	}
	if m&0o1000 != 0 {
		out |= fs.ModeSticky
	}
	return out, true
}

// ReadAt reads a regular file's content; holes and blocks that were allocated
// but never written read as zeros.
func (in *Inode) ReadAt(p []byte, off int64) (int, error) {
	if !in.Mode.IsRegular() {
		return 0, fs.ErrInvalid
	}
	return in.readAt(p, off)
}

// readAt reads the content of any inode that has one.
func (in *Inode) readAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	if in.flags&flagEncrypt != 0 {
		return 0, corrupt("inode %d is encrypted (fscrypt): its content cannot be read without its key", in.Number)
	}
	if in.flags&flagInline != 0 {
		data, err := in.inlineData()
		if err != nil {
			return 0, err
		}
		if off >= in.Size {
			return 0, io.EOF
		}
		n := copy(p, data[off:])
		if n < len(p) {
			return n, io.EOF
		}
		return n, nil
	}
	done := 0
	for done < len(p) {
		if off >= in.Size {
			return done, io.EOF
		}
		n, err := in.readRun(p[done:], off)
		done, off = done+n, off+int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// readRun reads from one mapping at most.
func (in *Inode) readRun(p []byte, off int64) (int, error) {
	bs := int64(in.fs.blockSize)
	m, err := in.mapping(uint64(off / bs))
	if err != nil {
		return 0, err
	}
	inRun := off - int64(m.logical)*bs
	n := min(int64(len(p)), in.Size-off, int64(m.length)*bs-inRun)
	if m.hole {
		clear(p[:n])
		return int(n), nil
	}
	block := m.physical + uint64(inRun/bs)
	return int(n), in.fs.readBlock(p[:n], block, uint32(inRun%bs), "file data")
}

// Readlink returns a symbolic link's target, as stored.
func (in *Inode) Readlink() (string, error) {
	if in.Mode&fs.ModeSymlink == 0 {
		return "", fs.ErrInvalid
	}
	if in.Size == 0 || in.Size > maxLinkTarget {
		return "", corrupt("symbolic link in inode %d has a target of %d bytes, want 1 to %d", in.Number, in.Size, maxLinkTarget)
	}
	b := make([]byte, in.Size)
	if in.Size < 60 && in.flags&(flagExtents|flagInline|flagEncrypt) == 0 {
		copy(b, in.raw[0x28:0x28+60]) // a fast link keeps its target in the inode
	} else if _, err := in.readAt(b, 0); err != nil {
		return "", err
	}
	return string(b), nil
}
