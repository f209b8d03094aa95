package target

import (
	"fmt"
	"io"
	"io/fs"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/target/internal/fat"
)

// openESP opens the EFI system partition. One that cannot be read is no reason
// not to look at the root, so the error waits until somebody asks for it.
func (t *Target) openESP(r io.ReaderAt, p Partition) {
	f, err := fat.Open(r, p.Length)
	if err != nil {
		t.espErr = fmt.Errorf("EFI system partition (partition %d): %w", p.Number, err)
		return
	}
	t.esp, t.espErr = &view{fatNode{f.Root()}}, nil
}

type fatNode struct{ e *fat.Entry }

func (n fatNode) kind() fs.FileMode {
	if n.e.Dir {
		return fs.ModeDir
	}
	return 0
}

// stat shows the permissions that Linux gives to all files of a FAT that is
// mounted without options.
func (n fatNode) stat(name string) (*info, error) {
	mode := n.kind() | 0o755
	if n.e.ReadOnly {
		mode &^= 0o222
	}
	return &info{name: name, size: n.e.Size, mode: mode, modTime: n.e.ModTime, sys: Sys{Links: 1, Allocated: -1}}, nil
}

func (n fatNode) lookup(name string) (node, error) {
	e, err := n.e.Lookup(name)
	if err != nil {
		return nil, err
	}
	return fatNode{e}, nil
}

func (n fatNode) list(yield func(listed) bool) error {
	entries, err := n.e.Entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		c := fatNode{e}
		if !yield(listed{e.Name, c.kind(), func() (node, error) { return c, nil }}) {
			return nil
		}
	}
	return nil
}

func (n fatNode) readlink() (string, error) { return "", fs.ErrInvalid }

func (n fatNode) open(name string) (File, error) {
	r, err := n.e.Open()
	if err != nil {
		return nil, err
	}
	fi, err := n.stat(name)
	if err != nil {
		return nil, err
	}
	return newImageFile(r, fi), nil
}

func (n fatNode) xattrs() (map[string][]byte, error) { return nil, nil }
