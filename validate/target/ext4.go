package target

import (
	"io"
	"io/fs"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/target/internal/ext4"
)

// openExt4 returns a view of the file system in the first size bytes of r, and
// what it is called.
func openExt4(r io.ReaderAt, size int64) (*view, volume, error) {
	f, err := ext4.Open(r, size)
	if err != nil {
		return nil, volume{}, err
	}
	root, err := f.Root()
	if err != nil {
		return nil, volume{}, err
	}
	if !root.Mode.IsDir() {
		return nil, volume{}, badf("ext4: the root inode is a %s", kindName(root.Mode))
	}
	return &view{ext4Node{f, root}}, volume{f.Label(), f.UUID()}, nil
}

type ext4Node struct {
	fs *ext4.FS
	in *ext4.Inode
}

func (n ext4Node) kind() fs.FileMode { return n.in.Mode.Type() }

func (n ext4Node) stat(name string) (*info, error) {
	in := n.in
	return &info{name: name, size: in.Size, mode: in.Mode, modTime: in.ModTime, sys: Sys{
		UID: in.UID, GID: in.GID, Links: uint64(in.Links), Inode: uint64(in.Number),
		Allocated: in.Allocated, Major: in.Major, Minor: in.Minor,
	}}, nil
}

func (n ext4Node) lookup(name string) (node, error) {
	in, err := n.in.Lookup(name)
	if err != nil {
		return nil, err
	}
	return ext4Node{n.fs, in}, nil
}

func (n ext4Node) list(yield func(listed) bool) error {
	var failed error
	err := n.in.Entries(func(e ext4.Entry) bool {
		get := func() (node, error) {
			in, err := n.in.Child(e.Inode)
			if err != nil {
				return nil, err
			}
			return ext4Node{n.fs, in}, nil
		}
		kind := e.Type
		if !e.Known {
			child, err := get()
			if err != nil {
				failed = err
				return false
			}
			kind = child.kind()
		}
		return yield(listed{e.Name, kind, get})
	})
	if failed != nil {
		return failed
	}
	return err
}

func (n ext4Node) readlink() (string, error) { return n.in.Readlink() }

func (n ext4Node) open(name string) (File, error) {
	fi, err := n.stat(name)
	if err != nil {
		return nil, err
	}
	return newImageFile(n.in, fi), nil
}

func (n ext4Node) xattrs() (map[string][]byte, error) { return n.in.Xattrs() }
