package target

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"strings"
	"syscall"
	"time"
)

// Bounds on the index of a tar, which is kept in memory.
const (
	maxTarEntries   = 1 << 20
	maxTarNameBytes = 128 << 20 // names, link targets and extended attributes
	xattrRecord     = "SCHILY.xattr."
)

// tarNode is one file of a tar. The tree is complete before anybody sees it,
// and never changes after.
type tarNode struct {
	r        io.ReaderAt
	mode     fs.FileMode
	size     int64
	at       int64 // of the content
	sparse   bool
	modTime  time.Time
	sys      Sys
	target   string
	attrs    map[string][]byte
	children map[string]*tarNode
}

// openTar indexes the tar that stream yields. position tells how many bytes
// were consumed; content later reads the same bytes at random.
func openTar(ctx context.Context, stream io.Reader, position func() int64, content io.ReaderAt) (*view, error) {
	root := newTarDir(content)
	v := &view{root}
	tr := tar.NewReader(stream)
	names := 0
	for n := 0; ; n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			if n == 0 {
				return nil, badf("tar: the archive is empty")
			}
			return v, nil
		}
		if err != nil {
			return nil, tarError(n, err)
		}
		if n == maxTarEntries {
			return nil, badf("tar: more than %d entries", maxTarEntries)
		}
		names += len(h.Name) + len(h.Linkname)
		for k, val := range h.PAXRecords {
			names += len(k) + len(val)
		}
		if names > maxTarNameBytes {
			return nil, badf("tar: names and attributes of more than %d bytes", maxTarNameBytes)
		}
		if err := v.addTar(h, position(), content); err != nil {
			return nil, badf("tar: entry %d, %q: %w", n+1, h.Name, err)
		}
	}
}

func tarError(n int, err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return badf("tar: truncated after %d entries; copy or download it again", n)
	case errors.Is(err, tar.ErrHeader), errors.Is(err, tar.ErrFieldTooLong):
		return badf("tar: entry %d: %w", n+1, err)
	}
	return fmt.Errorf("tar: reading entry %d: %w", n+1, err)
}

func newTarDir(r io.ReaderAt) *tarNode {
	return &tarNode{r: r, mode: fs.ModeDir | 0o755, children: map[string]*tarNode{}, sys: Sys{Links: 1}}
}

// addTar puts one entry where extracting would put it: parents that the tar
// leaves out appear, links among them are followed inside the tree, and a
// later entry replaces an earlier one.
func (v *view) addTar(h *tar.Header, at int64, r io.ReaderAt) error {
	n, err := v.tarNode(h, at, r)
	if err != nil || n == nil {
		return err
	}
	name := Rel(h.Name)
	root := v.root.(*tarNode)
	if name == "." {
		if n.mode.IsDir() {
			root.mode, root.modTime, root.sys, root.attrs = n.mode, n.modTime, n.sys, n.attrs
			return nil
		}
		return fmt.Errorf("the root is a %s", kindName(n.mode))
	}
	parent, err := v.tarParent(path.Dir(name), r)
	if err != nil {
		return err
	}
	base := path.Base(name)
	if old := parent.children[base]; old != nil && old.mode.IsDir() && n.mode.IsDir() {
		old.mode, old.modTime, old.sys, old.attrs = n.mode, n.modTime, n.sys, n.attrs
		return nil
	}
	parent.children[base] = n
	return nil
}

func (v *view) tarParent(dir string, r io.ReaderAt) (*tarNode, error) {
	at := v.root.(*tarNode)
	if dir == "." {
		return at, nil
	}
	done := ""
	for _, c := range strings.Split(dir, "/") {
		done = path.Join(done, c)
		next := at.children[c]
		if next != nil && next.mode&fs.ModeSymlink != 0 {
			n, _, err := v.find("resolve", done, true)
			if err != nil {
				return nil, err
			}
			next = n.(*tarNode)
		}
		if next == nil {
			next = newTarDir(r)
			at.children[c] = next
		}
		if !next.mode.IsDir() {
			return nil, fmt.Errorf("%s is a %s and has entries below it", done, kindName(next.mode))
		}
		at = next
	}
	return at, nil
}

func (v *view) tarNode(h *tar.Header, at int64, r io.ReaderAt) (*tarNode, error) {
	n := &tarNode{r: r, size: h.Size, at: at, modTime: h.ModTime, sys: Sys{
		UID: uint32(h.Uid), GID: uint32(h.Gid), Links: 1, Allocated: -1,
		Major: uint32(h.Devmajor), Minor: uint32(h.Devminor),
	}}
	n.mode = h.FileInfo().Mode() &^ fs.ModeType
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, '\x00', tar.TypeCont:
		_, pax := h.PAXRecords["GNU.sparse.major"]
		_, old := h.PAXRecords["GNU.sparse.map"]
		_, oldest := h.PAXRecords["GNU.sparse.size"]
		n.sparse = pax || old || oldest || h.Typeflag == tar.TypeGNUSparse
	case tar.TypeDir:
		n.mode |= fs.ModeDir
		n.children = map[string]*tarNode{}
	case tar.TypeSymlink:
		n.mode |= fs.ModeSymlink
		n.target, n.size = h.Linkname, int64(len(h.Linkname))
	case tar.TypeChar:
		n.mode |= fs.ModeDevice | fs.ModeCharDevice
	case tar.TypeBlock:
		n.mode |= fs.ModeDevice
	case tar.TypeFifo:
		n.mode |= fs.ModeNamedPipe
	case tar.TypeLink:
		linked, _, err := v.find("link", Rel(h.Linkname), false)
		if err != nil {
			return nil, err
		}
		old := linked.(*tarNode)
		if old.mode.IsDir() {
			return nil, fmt.Errorf("is a hard link to the directory %q", h.Linkname)
		}
		old.sys.Links++
		return old, nil
	case tar.TypeXGlobalHeader:
		return nil, nil
	default:
		return nil, fmt.Errorf("has the unknown type %q", h.Typeflag)
	}
	for k, val := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, xattrRecord); ok {
			if n.attrs == nil {
				n.attrs = map[string][]byte{}
			}
			n.attrs[name] = []byte(val)
		}
	}
	return n, nil
}

func (n *tarNode) kind() fs.FileMode { return n.mode.Type() }

func (n *tarNode) stat(name string) (*info, error) {
	return &info{name: name, size: n.size, mode: n.mode, modTime: n.modTime, sys: n.sys}, nil
}

func (n *tarNode) lookup(name string) (node, error) {
	if c := n.children[name]; c != nil {
		return c, nil
	}
	return nil, fs.ErrNotExist
}

func (n *tarNode) list(yield func(listed) bool) error {
	for name, c := range n.children {
		if !yield(listed{name, c.kind(), func() (node, error) { return c, nil }}) {
			return nil
		}
	}
	return nil
}

func (n *tarNode) readlink() (string, error) {
	if len(n.target) >= 4096 {
		return "", syscall.ENAMETOOLONG
	}
	return n.target, nil
}

func (n *tarNode) open(name string) (File, error) {
	if n.sparse {
		return nil, badf("is stored sparse in the tar: make the tar without --sparse")
	}
	fi, err := n.stat(name)
	if err != nil {
		return nil, err
	}
	return newImageFile(io.NewSectionReader(n.r, n.at, n.size), fi), nil
}

func (n *tarNode) xattrs() (map[string][]byte, error) { return maps.Clone(n.attrs), nil }
