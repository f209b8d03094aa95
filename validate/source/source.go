// Package source reads configuration out of a root file system: bounded in
// size, with absolute paths as the image's programs write them, and with the
// file and line of everything kept for the report.
//
// A root is any fs.FS whose top is the image's "/". Links are followed by the
// root itself, inside the image; a root that also implements fs.ReadLinkFS
// lets callers see the links, which matters where a link is the message: a
// masked unit, an enabled unit, a disabled AppArmor profile.
package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// MaxFile is the most that is read of one configuration file, in bytes.
// Configuration of any program modelled here is far smaller; a larger file is
// refused by name, so that a hostile image cannot exhaust memory.
const MaxFile = 1 << 20

// MaxEntries is the largest directory that is listed.
const MaxEntries = 65536

// ErrTooLarge says that a file or directory exceeds the bound that its reader set.
var ErrTooLarge = errors.New("larger than the reader's bound")

// Position says where in the image something was read. Line counts from 1;
// 0 means the file as a whole. The zero Position is a program's built-in default.
type Position struct {
	File string `json:"file,omitempty"` // absolute path in the image
	Line int    `json:"line,omitempty"`
}

// IsDefault reports whether the value came from no file.
func (p Position) IsDefault() bool { return p.File == "" }

func (p Position) String() string {
	switch {
	case p.File == "":
		return "built-in default"
	case p.Line == 0:
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

// Name turns an absolute or relative path of the image into the name that
// io/fs wants: clean, without a leading slash, "." for the top. Dot-dot
// elements stop at the top, as they do for a process in a chroot.
func Name(p string) string {
	p = path.Clean("/" + p)
	if p == "/" {
		return "."
	}
	return p[1:]
}

// Path is the inverse of Name.
func Path(name string) string { return path.Clean("/" + name) }

// ReadFile reads the regular file p, of at most max bytes.
//
// Missing files give an error that is fs.ErrNotExist. Everything else that is
// wrong with the image's file (a directory in its place, too large) is bad input.
func ReadFile(root fs.FS, p string, max int64) ([]byte, error) {
	f, err := root.Open(Name(p))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", Path(p), cause(err))
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", Path(p), cause(err))
	}
	if !st.Mode().IsRegular() {
		return nil, exitcode.BadInput(fmt.Errorf("read %s: is a %s, want a regular file", Path(p), kind(st.Mode())))
	}
	if st.Size() > max {
		return nil, exitcode.BadInput(fmt.Errorf("read %s: %d bytes, want at most %d: %w", Path(p), st.Size(), max, ErrTooLarge))
	}
	// At once as long as the file says it is: a thousand files are read, and
	// buffers that double until they fit are five times their content.
	var b bytes.Buffer
	b.Grow(int(st.Size()) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(f, max+1)); err != nil {
		return nil, fmt.Errorf("read %s: %w", Path(p), cause(err))
	}
	if int64(b.Len()) > max {
		return nil, exitcode.BadInput(fmt.Errorf("read %s: more than %d bytes: %w", Path(p), max, ErrTooLarge))
	}
	return b.Bytes(), nil
}

// ReadDir lists directory p, sorted by name.
func ReadDir(root fs.FS, p string) ([]fs.DirEntry, error) {
	es, err := fs.ReadDir(root, Name(p))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", Path(p), cause(err))
	}
	if len(es) > MaxEntries {
		return nil, exitcode.BadInput(fmt.Errorf("list %s: %d entries, want at most %d: %w", Path(p), len(es), MaxEntries, ErrTooLarge))
	}
	return es, nil
}

// Lstat describes p itself where the root can tell, and what p points at otherwise.
func Lstat(root fs.FS, p string) (fs.FileInfo, error) {
	st, err := fs.Lstat(root, Name(p))
	if err != nil {
		return nil, fmt.Errorf("stat %s: %w", Path(p), cause(err))
	}
	return st, nil
}

// Stat describes what p points at.
func Stat(root fs.FS, p string) (fs.FileInfo, error) {
	st, err := fs.Stat(root, Name(p))
	if err != nil {
		return nil, fmt.Errorf("stat %s: %w", Path(p), cause(err))
	}
	return st, nil
}

// Link returns the target of the link p as it is stored, and whether p is one.
// A root that cannot read links has none.
func Link(root fs.FS, p string) (target string, ok bool) {
	rl, can := root.(fs.ReadLinkFS)
	if !can {
		return "", false
	}
	st, err := rl.Lstat(Name(p))
	if err != nil || st.Mode()&fs.ModeSymlink == 0 {
		return "", false
	}
	t, err := rl.ReadLink(Name(p))
	return t, err == nil
}

// ResolveLink returns the absolute path that a link at p with this target names.
func ResolveLink(p, target string) string {
	if path.IsAbs(target) {
		return path.Clean(target)
	}
	return path.Join(path.Dir(Path(p)), target)
}

// Exists reports whether p names something, following links.
func Exists(root fs.FS, p string) bool {
	_, err := fs.Stat(root, Name(p))
	return err == nil
}

// Glob expands a shell pattern of absolute paths, sorted, as filepath.Glob
// would on the running machine. Unreadable directories match nothing.
func Glob(root fs.FS, pattern string) ([]string, error) {
	ms, err := fs.Glob(root, Name(pattern))
	if err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("expand %q: %w", pattern, err))
	}
	if len(ms) > MaxEntries {
		return nil, exitcode.BadInput(fmt.Errorf("expand %q: %d matches, want at most %d: %w", pattern, len(ms), MaxEntries, ErrTooLarge))
	}
	for i, m := range ms {
		ms[i] = Path(m)
	}
	return ms, nil
}

// cause drops the fs.PathError around err, whose path lacks the leading slash
// that the report shows.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) && pe.Err != nil {
		return pe.Err
	}
	return err
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "link"
	case m&fs.ModeNamedPipe != 0:
		return "pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// Line is one line of a file, without its end.
type Line struct {
	Text string
	Pos  Position
}

// Lines splits the content of file into lines.
func Lines(file string, data []byte) []Line {
	text := strings.TrimSuffix(string(data), "\n")
	if text == "" {
		return nil
	}
	parts := strings.Split(text, "\n")
	out := make([]Line, len(parts))
	for i, s := range parts {
		out[i] = Line{Text: strings.TrimSuffix(s, "\r"), Pos: Position{File: file, Line: i + 1}}
	}
	return out
}
