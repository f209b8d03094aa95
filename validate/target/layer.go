package target

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// Entry is one file of a Layer, and what it is there.
type Entry struct {
	// Path is absolute. No link may stand in its directories: FS.Resolve
	// finds the real ones.
	Path string
	// Removed says that the file, or the whole directory, is not there. The
	// other fields mean nothing then.
	Removed bool
	// Mode is the type, a regular file, a directory or a symbolic link, and
	// the permissions with setuid, setgid and sticky bit.
	Mode fs.FileMode
	// UID and GID are the owner's.
	UID, GID uint32
	// Keep leaves a regular file's or a directory's content, attributes and
	// time as the base has them: only mode and owner differ.
	Keep bool
	// Content is a regular file's, unless File names one.
	Content []byte
	// File is a regular file of this host whose content it is.
	File string
	// Link is a symbolic link's target.
	Link string
}

// Size is the length of a regular file's content, in bytes.
func (e Entry) Size() (int64, error) {
	if e.File == "" {
		return int64(len(e.Content)), nil
	}
	fi, err := os.Stat(e.File)
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// WithLayer shows t with files changed, as if they had been written: nothing
// is copied. Directories that an entry's path needs and the base lacks are
// made, owned by root with mode 0755. Later entries win over earlier ones.
//
// The result reads through t, so t must stay open, and closing the result
// closes nothing. root changes the root file system, esp the EFI system
// partition, which t must have when there is any entry for it.
func (t *Target) WithLayer(root, esp []Entry) (*Target, error) {
	over := &Target{path: t.path, kind: t.kind, rootNo: t.rootNo, parts: t.parts, guid: t.guid, esp: t.esp, espErr: t.espErr}
	var err error
	if over.root, err = layered(t.root, root); err != nil {
		return nil, fmt.Errorf("laying changes over %s: %w", t.path, err)
	}
	if len(esp) > 0 {
		base, err := t.ESP()
		if err != nil {
			return nil, fmt.Errorf("laying changes over %s: %w", t.path, err)
		}
		if over.esp, err = layered(base, esp); err != nil {
			return nil, fmt.Errorf("laying changes over %s's EFI system partition: %w", t.path, err)
		}
	}
	return over, nil
}

func layered(base FS, entries []Entry) (FS, error) {
	v, ok := base.(*view)
	if !ok {
		return nil, fmt.Errorf("a layer over %T: want a file system of this package", base)
	}
	top := &over{}
	var errs []error
	for _, e := range entries {
		errs = append(errs, top.add(v, e))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &view{layerNode{v.root, top}}, nil
}

// over is what a layer says about one file: entry, or, without one, only
// something about files below it.
type over struct {
	entry    *Entry
	below    map[string]*over
	hideBase bool // what the base has here and below is gone
}

func (o *over) add(base *view, e Entry) error {
	name := Rel(e.Path)
	if !path.IsAbs(e.Path) || path.Clean(e.Path) != e.Path || name == "." {
		return badf("path %q: want a clean absolute one that is not the root", e.Path)
	}
	at, parts := o, strings.Split(name, "/")
	for i, part := range parts {
		if i > 0 {
			dir := strings.Join(parts[:i], "/")
			kind, there := fs.ModeDir, false
			if at.entry != nil {
				kind, there = at.entry.Mode.Type(), !at.entry.Removed
			} else if n, _, err := base.find("lstat", dir, false); err == nil && !at.hideBase {
				kind, there = n.kind(), true
			} else if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
				return err
			}
			switch {
			case there && !kind.IsDir():
				return badf("path %s: /%s is a %s, want a directory", e.Path, dir, kindName(kind))
			case !there && e.Removed:
				return nil
			case !there:
				at.entry = &Entry{Path: "/" + dir, Mode: fs.ModeDir | 0o755}
			}
		}
		next := at.below[part]
		if next == nil {
			if at.below == nil {
				at.below = map[string]*over{}
			}
			next = &over{hideBase: at.hideBase}
			at.below[part] = next
		}
		at = next
	}
	switch t := e.Mode.Type(); {
	case e.Removed, t == fs.ModeSymlink, t.IsRegular() && !e.Keep:
		*at = over{hideBase: true}
	case t.IsRegular(), t.IsDir():
	default:
		return badf("path %s: a layer holds files, directories and links, not a %s", e.Path, kindName(t))
	}
	at.entry = &e
	return nil
}

// layerNode is a base's node, nil where the base has none, under a layer.
type layerNode struct {
	base node
	over *over
}

func (n layerNode) kind() fs.FileMode {
	if n.over.entry != nil {
		return n.over.entry.Mode.Type()
	}
	return n.base.kind()
}

func (n layerNode) stat(name string) (*info, error) {
	e := n.over.entry
	if e == nil {
		return n.base.stat(name)
	}
	fi := &info{name: name, modTime: time.Unix(0, 0), sys: Sys{Links: 1, Allocated: -1}}
	if n.base != nil && (e.Keep || e.Mode.IsDir()) {
		var err error
		if fi, err = n.base.stat(name); err != nil {
			return nil, err
		}
	} else if e.Mode.IsRegular() {
		size, err := e.Size()
		if err != nil {
			return nil, err
		}
		fi.size = size
	} else {
		fi.size = int64(len(e.Link))
	}
	fi.mode, fi.sys.UID, fi.sys.GID = e.Mode, e.UID, e.GID
	return fi, nil
}

func (n layerNode) lookup(name string) (node, error) {
	o := n.over.below[name]
	if o != nil && o.entry != nil && o.entry.Removed {
		return nil, fs.ErrNotExist
	}
	var base node
	if n.base != nil && (o == nil || !o.hideBase) {
		var err error
		if base, err = n.base.lookup(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	switch {
	case o == nil && base == nil, o != nil && o.entry == nil && base == nil:
		return nil, fs.ErrNotExist
	case o == nil:
		return base, nil
	case o.entry != nil && o.entry.Keep && base == nil:
		return nil, fs.ErrNotExist // there is nothing whose mode could be changed
	}
	return layerNode{base, o}, nil
}

func (n layerNode) list(yield func(listed) bool) error {
	seen := map[string]bool{}
	more := true
	one := func(name string) bool {
		child, err := n.lookup(name)
		if err != nil {
			return true // removed, or never there
		}
		return yield(listed{name, child.kind(), func() (node, error) { return child, nil }})
	}
	if n.base != nil {
		err := n.base.list(func(l listed) bool {
			if n.over.below[l.name] == nil {
				more = yield(l)
			} else {
				seen[l.name] = true
				more = one(l.name)
			}
			return more
		})
		if err != nil {
			return err
		}
	}
	for name := range n.over.below {
		if more && !seen[name] {
			more = one(name)
		}
	}
	return nil
}

func (n layerNode) readlink() (string, error) {
	if n.over.entry != nil {
		return n.over.entry.Link, nil
	}
	return n.base.readlink()
}

func (n layerNode) open(name string) (File, error) {
	e := n.over.entry
	if e == nil {
		return n.base.open(name)
	}
	fi, err := n.stat(name)
	if err != nil {
		return nil, err
	}
	if e.Keep {
		f, err := n.base.open(name)
		if err != nil {
			return nil, err
		}
		return keptFile{f, fi}, nil
	}
	if e.File == "" {
		return newImageFile(bytes.NewReader(e.Content), fi), nil
	}
	f, err := os.Open(e.File)
	if err != nil {
		return nil, err
	}
	return layerFile{newImageFile(f, fi), f}, nil
}

// keptFile is a base's file whose mode or owner was changed.
type keptFile struct {
	File
	fi fs.FileInfo
}

func (f keptFile) Stat() (fs.FileInfo, error) { return f.fi, nil }

// layerFile is an imageFile whose bytes come from a file of this host.
type layerFile struct {
	File
	closer io.Closer
}

func (f layerFile) Close() error { return f.closer.Close() }

func (n layerNode) xattrs() (map[string][]byte, error) {
	if e := n.over.entry; e != nil && !e.Keep && !e.Mode.IsDir() || n.base == nil {
		return nil, nil
	}
	return n.base.xattrs()
}
