package cloudimage

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// WriteTar writes the image's system as a tar: every file with owner, mode, time,
// hard links and extended attributes, /boot from its own partition if it has one.
// The kernel fills /dev, so what an image has there is left out, and so is what
// each ext4 makes for itself.
func WriteTar(ctx context.Context, w io.Writer, t *target.Target) error {
	out := tar.NewWriter(w)
	root := t.Root()
	// A file's number counts in its own file system only.
	type inode struct {
		boot   bool
		number uint64
	}
	linked := map[inode]string{}
	err := target.Walk(ctx, root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inBoot := t.BootPartition() != 0 && within(name, "boot")
		switch {
		case name != "dev" && within(name, "dev"), d.Type()&fs.ModeSocket != 0:
			return nil
		case name == "lost+found", inBoot && name == "boot/lost+found":
			return fs.SkipDir
		}
		info, err := root.Lstat(name)
		if err != nil {
			return err
		}
		header, err := header(root, name, info)
		if err != nil {
			return fmt.Errorf("/%s: %w", name, err)
		}
		sys, _ := target.SysOf(info)
		if id := (inode{inBoot, sys.Inode}); sys.Links > 1 && !info.IsDir() {
			if first, ok := linked[id]; ok {
				header.Typeflag, header.Linkname, header.Size, header.PAXRecords = tar.TypeLink, first, 0, nil
				return out.WriteHeader(header)
			}
			linked[id] = header.Name
		}
		if err := out.WriteHeader(header); err != nil {
			return fmt.Errorf("/%s: %w", name, err)
		}
		if header.Typeflag != tar.TypeReg {
			return nil
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, f)
		return errors.Join(err, f.Close())
	})
	return errors.Join(err, out.Close())
}

// within tells whether a name is a directory or below it.
func within(name, dir string) bool {
	return name == dir || len(name) > len(dir) && name[:len(dir)] == dir && name[len(dir)] == '/'
}

func header(root target.FS, name string, info fs.FileInfo) (*tar.Header, error) {
	sys, _ := target.SysOf(info)
	h := &tar.Header{
		Format: tar.FormatPAX, Name: "./" + name, Mode: int64(rooted.ModeBits(info.Mode())),
		Uid: int(sys.UID), Gid: int(sys.GID), ModTime: info.ModTime(),
	}
	var err error
	switch mode := info.Mode(); {
	case mode.IsRegular():
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
	case mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, path.Clean(h.Name)+"/"
	case mode&fs.ModeSymlink != 0:
		h.Typeflag = tar.TypeSymlink
		h.Linkname, err = root.ReadLink(name)
	case mode&fs.ModeNamedPipe != 0:
		h.Typeflag = tar.TypeFifo
	case mode&fs.ModeCharDevice != 0:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(sys.Major), int64(sys.Minor)
	case mode&fs.ModeDevice != 0:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeBlock, int64(sys.Major), int64(sys.Minor)
	default:
		err = fmt.Errorf("found a file of mode %v", mode)
	}
	if err != nil {
		return nil, err
	}
	attributes, err := root.Xattrs(name)
	if err != nil {
		return nil, err
	}
	for key, value := range attributes {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		if key == aclAccess || key == aclDefault {
			if value, err = aclForUse(value); err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
		}
		h.PAXRecords["SCHILY.xattr."+key] = string(value)
	}
	return h, nil
}
