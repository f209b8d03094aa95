package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"path"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// walkAll reads everything below in, as long as budget lasts.
func walkAll(in *Inode, p string, budget *int) error {
	var children []Entry
	if err := in.Entries(func(e Entry) bool {
		children = append(children, e)
		*budget--
		return *budget > 0
	}); err != nil {
		return err
	}
	var errs []error
	for _, e := range children {
		child, err := in.Child(e.Inode)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		_, err = child.Xattrs()
		errs = append(errs, err)
		switch {
		case child.Mode.IsDir():
			if *budget > 0 {
				errs = append(errs, walkAll(child, path.Join(p, e.Name), budget))
			}
		case child.Mode&fs.ModeSymlink != 0:
			_, err = child.Readlink()
			errs = append(errs, err)
		case child.Mode.IsRegular():
			buf := make([]byte, 4096)
			for _, off := range []int64{0, child.Size / 2, child.Size - 10} {
				if _, err := child.ReadAt(buf, max(0, off)); !errors.Is(err, io.EOF) {
					errs = append(errs, err)
				}
			}
		}
	}
	return errors.Join(errs...)
}

// FuzzExt4 changes a good image in the places that the input names: 4 bytes
// of position, one of length, and the bytes. An image of a megabyte itself
// would leave the fuzzer lost among zeros.
func FuzzExt4(f *testing.F) {
	var bases [][]byte
	for _, name := range images {
		bases = append(bases, load(f, name))
	}
	f.Fuzz(func(t *testing.T, which byte, patch []byte) {
		b := bytes.Clone(bases[int(which)%len(bases)])
		for len(patch) > 5 {
			at, n := int(binary.LittleEndian.Uint32(patch))%len(b), int(patch[4])
			n = copy(b[at:], patch[5:min(len(patch), 5+n)])
			patch = patch[5+n:]
			if n == 0 {
				break
			}
		}
		resum(b)
		fsys, err := Open(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			var root *Inode
			if root, err = fsys.Root(); err == nil {
				budget := 2000
				err = walkAll(root, "", &budget)
			}
		}
		if err != nil && exitcode.Of(err) != exitcode.Usage {
			t.Fatalf("exit code %d, want 2: %v", exitcode.Of(err), err)
		}
	})
}
