package target

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

const (
	maxLinks   = 40      // symbolic links in one name, as in Linux
	maxSteps   = 1000    // components looked up for one name, links included
	maxEntries = 1 << 20 // names in one directory
)

// node is one file of a target, whatever that is. view makes an FS of nodes,
// so that links and names mean the same on all of them.
type node interface {
	// kind returns the type bits.
	kind() fs.FileMode
	// stat describes the node under the given base name.
	stat(name string) (*info, error)
	// lookup finds an entry of a directory, or fails with fs.ErrNotExist.
	lookup(name string) (node, error)
	// list calls yield for each entry of a directory, until that is false.
	list(yield func(listed) bool) error
	readlink() (string, error)
	// open opens a regular file.
	open(name string) (File, error)
	xattrs() (map[string][]byte, error)
}

// listed is one entry of a directory.
type listed struct {
	name string
	kind fs.FileMode
	node func() (node, error)
}

// view implements FS on nodes.
type view struct{ root node }

// Rel turns an absolute path inside an image into a name for an FS.
func Rel(p string) string {
	if p = strings.TrimPrefix(path.Clean("/"+p), "/"); p == "" {
		return "."
	}
	return p
}

// step is one resolved component of a name.
type step struct {
	name string
	node node
}

// validName is fs.ValidPath for names of any bytes, which is what Linux allows:
// a file with a name in Latin-1 is a file like any other.
func validName(name string) bool { return fs.ValidPath(strings.ToValidUTF8(name, "?")) }

// resolve walks a name from the root, following links; the last component's
// only if follow is set. The result's path has no links in it.
func (v *view) resolve(op, name string, follow bool) ([]step, error) {
	fail := func(err error) ([]step, error) {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	if !validName(name) {
		return fail(fs.ErrInvalid)
	}
	at := []step{{".", v.root}}
	rest := strings.Split(name, "/")
	for links, steps := 0, 0; len(rest) > 0; {
		c := rest[0]
		rest = rest[1:]
		cur := at[len(at)-1].node
		if !cur.kind().IsDir() {
			return fail(syscall.ENOTDIR)
		}
		switch c {
		case "", ".":
			continue
		case "..":
			at = at[:max(1, len(at)-1)]
			continue
		}
		// Targets of 4095 bytes each would have a name of 40 links look up
		// 80000 components.
		if steps++; steps > maxSteps {
			return fail(syscall.ELOOP)
		}
		n, err := cur.lookup(c)
		if err != nil {
			return fail(err)
		}
		if n.kind()&fs.ModeSymlink == 0 || len(rest) == 0 && !follow {
			at = append(at, step{c, n})
			continue
		}
		if links++; links > maxLinks {
			return fail(syscall.ELOOP)
		}
		target, err := n.readlink()
		switch {
		case err != nil:
			return fail(err)
		case target == "":
			return fail(fs.ErrNotExist)
		case target[0] == '/':
			at = at[:1]
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, nil
}

func (v *view) find(op, name string, follow bool) (node, string, error) {
	at, err := v.resolve(op, name, follow)
	if err != nil {
		return nil, "", err
	}
	return at[len(at)-1].node, path.Base(name), nil
}

func (v *view) Resolve(name string) (string, error) {
	at, err := v.resolve("resolve", name, true)
	if err != nil {
		return "", err
	}
	if len(at) == 1 {
		return ".", nil
	}
	parts := make([]string, len(at)-1)
	for i, s := range at[1:] {
		parts[i] = s.name
	}
	return strings.Join(parts, "/"), nil
}

func (v *view) Open(name string) (fs.File, error) {
	n, base, err := v.find("open", name, true)
	if err != nil {
		return nil, err
	}
	if n.kind().IsDir() {
		fi, err := n.stat(base)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return &dirFile{v: v, name: name, fi: fi}, nil
	}
	return openRegular(n, name, base)
}

func openRegular(n node, name, base string) (File, error) {
	if !n.kind().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("is a %s, want a regular file", kindName(n.kind()))}
	}
	f, err := n.open(base)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return f, nil
}

func kindName(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeCharDevice != 0:
		return "character device"
	case m&fs.ModeDevice != 0:
		return "block device"
	}
	return "regular file"
}

func (v *view) Stat(name string) (fs.FileInfo, error)  { return v.stat("stat", name, true) }
func (v *view) Lstat(name string) (fs.FileInfo, error) { return v.stat("lstat", name, false) }

func (v *view) stat(op, name string, follow bool) (fs.FileInfo, error) {
	n, base, err := v.find(op, name, follow)
	if err != nil {
		return nil, err
	}
	fi, err := n.stat(base)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return fi, nil
}

func (v *view) ReadLink(name string) (string, error) {
	n, _, err := v.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	if n.kind()&fs.ModeSymlink == 0 {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	target, err := n.readlink()
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}

func (v *view) ReadDir(name string) ([]fs.DirEntry, error) {
	n, _, err := v.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	fail := func(err error) ([]fs.DirEntry, error) {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	if !n.kind().IsDir() {
		return fail(syscall.ENOTDIR)
	}
	var out []fs.DirEntry
	err = n.list(func(l listed) bool {
		out = append(out, &dirEntry{l})
		return len(out) <= maxEntries
	})
	if err != nil {
		return fail(err)
	}
	if len(out) > maxEntries {
		return fail(badf("more than %d entries", maxEntries))
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for i := 1; i < len(out); i++ {
		if out[i].Name() == out[i-1].Name() {
			return fail(badf("two entries are called %q", out[i].Name()))
		}
	}
	return out, nil
}

// dirEntry implements fs.DirEntry.
type dirEntry struct{ l listed }

func (e *dirEntry) Name() string      { return e.l.name }
func (e *dirEntry) IsDir() bool       { return e.l.kind.IsDir() }
func (e *dirEntry) Type() fs.FileMode { return e.l.kind.Type() }
func (e *dirEntry) String() string    { return fs.FormatDirEntry(e) }
func (e *dirEntry) Info() (fs.FileInfo, error) {
	n, err := e.l.node()
	if err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: e.l.name, Err: err}
	}
	fi, err := n.stat(e.l.name)
	if err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: e.l.name, Err: err}
	}
	return fi, nil
}

func (v *view) ReadFile(name string) ([]byte, error) { return v.ReadFileMax(name, MaxReadFile) }

func (v *view) ReadFileMax(name string, limit int64) ([]byte, error) {
	n, base, err := v.find("open", name, true)
	if err != nil {
		return nil, err
	}
	f, err := openRegular(n, name, base)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fail := func(err error) ([]byte, error) {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	fi, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	if fi.Size() > limit {
		return fail(badf("is %d bytes long, want at most %d", fi.Size(), limit))
	}
	// The files of /proc are longer than their size says.
	b := make([]byte, 0, fi.Size()+512)
	for {
		n, err := f.Read(b[len(b):min(cap(b), len(b)+64<<10)])
		b = b[:len(b)+n]
		switch {
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return fail(err)
		case int64(len(b)) > limit:
			return fail(badf("is longer than %d bytes", limit))
		}
		b = slices.Grow(b, 512)
	}
}

func (v *view) Xattrs(name string) (map[string][]byte, error) {
	n, _, err := v.find("xattrs", name, false)
	if err != nil {
		return nil, err
	}
	x, err := n.xattrs()
	if err != nil {
		return nil, &fs.PathError{Op: "xattrs", Path: name, Err: err}
	}
	return x, nil
}
