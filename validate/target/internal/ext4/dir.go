package ext4

import (
	"bytes"
	"encoding/binary"
	"io/fs"
)

// Entry is one name in a directory.
type Entry struct {
	Name  string
	Inode uint32
	Type  fs.FileMode // type bits
	Known bool        // Type is recorded in the directory
}

// entryTypes are the file types that a directory records.
var entryTypes = [...]fs.FileMode{
	1: 0, 2: fs.ModeDir, 3: fs.ModeDevice | fs.ModeCharDevice, 4: fs.ModeDevice,
	5: fs.ModeNamedPipe, 6: fs.ModeSocket, 7: fs.ModeSymlink,
}

// rawEntry aliases the block that it was read from.
type rawEntry struct {
	name  []byte
	inode uint32
	ftype byte
}

// Entries calls yield for each name but "." and "..", until it returns false.
// Two names for one directory are an error: with them a walk need not end.
func (in *Inode) Entries(yield func(Entry) bool) error {
	dirs := map[uint32]struct{}{}
	var dup error
	err := in.scan(func(e rawEntry) bool {
		if isDot(e.name) {
			return true
		}
		out := Entry{Name: string(e.name), Inode: e.inode}
		if e.ftype > 0 && int(e.ftype) < len(entryTypes) {
			out.Type, out.Known = entryTypes[e.ftype], true
		}
		if out.Type.IsDir() {
			if _, seen := dirs[e.inode]; seen {
				dup = corrupt("directory in inode %d names the directory in inode %d twice: directories form no tree", in.Number, e.inode)
				return false
			}
			dirs[e.inode] = struct{}{}
		}
		return yield(out)
	})
	if dup != nil {
		return dup
	}
	return err
}

// Lookup finds a name in a directory; the error is fs.ErrNotExist when there
// is none. The child directory that it returns names this one as its parent:
// so no path through an image is longer than the number of its directories.
func (in *Inode) Lookup(name string) (*Inode, error) {
	var found uint32
	want := []byte(name)
	err := in.scan(func(e rawEntry) bool {
		if bytes.Equal(e.name, want) {
			found = e.inode
		}
		return found == 0
	})
	if err != nil {
		return nil, err
	}
	if found == 0 {
		return nil, fs.ErrNotExist
	}
	return in.Child(found)
}

// Child returns inode n, an entry of this directory, checked like Lookup does.
func (in *Inode) Child(n uint32) (*Inode, error) {
	child, err := in.fs.Inode(n)
	if err != nil || !child.Mode.IsDir() {
		return child, err
	}
	parent, err := child.parent()
	if err != nil {
		return nil, err
	}
	if parent != in.Number || n == rootInode {
		return nil, corrupt("directory in inode %d is listed in inode %d and names %d as its parent: directories form no tree", n, in.Number, parent)
	}
	return child, nil
}

// parent returns what ".." stands for.
func (in *Inode) parent() (uint32, error) {
	if in.flags&flagInline != 0 {
		return binary.LittleEndian.Uint32(in.raw[0x28:]), nil
	}
	var parent uint32
	err := in.scan(func(e rawEntry) bool {
		if string(e.name) == ".." {
			parent = e.inode
		}
		return string(e.name) == "." // it must be the first or the second
	})
	return parent, err
}

func isDot(name []byte) bool {
	return len(name) == 1 && name[0] == '.' || len(name) == 2 && name[0] == '.' && name[1] == '.'
}

// scan goes through a directory's blocks in order. The index of a hashed
// directory needs no handling: its nodes look like blocks without entries.
func (in *Inode) scan(yield func(rawEntry) bool) error {
	if !in.Mode.IsDir() {
		return corrupt("inode %d is not a directory", in.Number)
	}
	if in.flags&flagEncrypt != 0 {
		return corrupt("directory in inode %d is encrypted (fscrypt): its names cannot be read without its key", in.Number)
	}
	if in.Size > maxDirBytes {
		return corrupt("directory in inode %d is %d bytes long, this reader accepts %d", in.Number, in.Size, maxDirBytes)
	}
	if in.flags&flagInline != 0 {
		data, err := in.inlineData()
		if err != nil {
			return err
		}
		if len(data) < 4 {
			return corrupt("inline directory in inode %d is %d bytes long", in.Number, len(data))
		}
		// The inode's own part and the attribute's part are two separate lists.
		first := min(60, len(data))
		if more, err := in.scanBlock(data[4:first], yield); err != nil || !more {
			return err
		}
		_, err = in.scanBlock(data[first:], yield)
		return err
	}
	bs := int64(in.fs.blockSize)
	if in.Size%bs != 0 {
		return corrupt("directory in inode %d is %d bytes long, want a multiple of %d", in.Number, in.Size, bs)
	}
	for off := int64(0); off < in.Size; off += dirChunk {
		chunk, err := in.directory(off)
		if err != nil {
			return err
		}
		for ; len(chunk) > 0; chunk = chunk[bs:] {
			if more, err := in.scanBlock(chunk[:bs], yield); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// dirChunk is how much of a directory is read at once, a multiple of any block
// size.
const dirChunk = 64 << 10

type dirKey struct {
	inode uint32
	off   int64
}

// directory returns up to dirChunk bytes of a directory from byte off. They are
// cached, since a check looks up many names in the same few directories.
func (in *Inode) directory(off int64) ([]byte, error) {
	key := dirKey{in.Number, off}
	if b, ok := in.fs.dirs.Get(key); ok {
		return b, nil
	}
	bs := int64(in.fs.blockSize)
	out := make([]byte, min(dirChunk, in.Size-off))
	for b := out; len(b) > 0; {
		m, err := in.mapping(uint64(off / bs))
		if err != nil {
			return nil, err
		}
		if m.hole {
			return nil, corrupt("directory in inode %d has a hole at byte %d", in.Number, off)
		}
		skip := uint64(off/bs) - m.logical
		n := min(int64(len(b)), int64(m.length-skip)*bs)
		if err := in.fs.readBlock(b[:n], m.physical+skip, 0, "directory"); err != nil {
			return nil, err
		}
		b, off = b[n:], off+n
	}
	in.fs.dirs.Put(key, out)
	return out, nil
}

func (in *Inode) scanBlock(b []byte, yield func(rawEntry) bool) (more bool, err error) {
	le := binary.LittleEndian
	for off := 0; off < len(b); {
		if len(b)-off < 8 {
			return false, corrupt("directory in inode %d: %d stray bytes at the end of a block", in.Number, len(b)-off)
		}
		e := b[off:]
		rec := int(le.Uint16(e[4:]))
		if len(b) >= 65536 { // a 64 KiB record does not fit into 16 bits
			if rec == 65535 || rec == 0 {
				rec = 65536
			} else {
				rec = rec&65532 | rec&3<<16
			}
		}
		nameLen, ftype := int(e[6]), e[7]
		if in.fs.incompat&incompFtype == 0 {
			nameLen, ftype = int(le.Uint16(e[6:])), 0
		}
		if rec < 8 || rec%4 != 0 || rec > len(e) || nameLen > rec-8 || nameLen > 255 {
			return false, corrupt("directory in inode %d: entry of %d bytes with a name of %d bytes at byte %d of a block", in.Number, rec, nameLen, off)
		}
		if ino := le.Uint32(e); ino != 0 && nameLen > 0 {
			name := e[8 : 8+nameLen]
			if bytes.IndexByte(name, '/') >= 0 || bytes.IndexByte(name, 0) >= 0 {
				return false, corrupt("directory in inode %d: name %q", in.Number, name)
			}
			if !yield(rawEntry{name, ino, ftype}) {
				return false, nil
			}
		}
		off += rec
	}
	return true, nil
}
