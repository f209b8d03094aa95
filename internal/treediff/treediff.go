// Package treediff compares two file trees, and two disks, by what is in them:
// each file that differs with what of it differs, and each range of bytes.
//
// What it compares may be hostile. Both sides are read through
// validate/target, which never leaves an image; what is kept in memory and
// what is read are bounded here, and a bound that is met is an error of exit
// code 2 that names it, never a shorter answer that looks whole.
package treediff

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// The default bounds of Options.
const (
	DefaultMaxBytes   = 256 << 30
	DefaultMaxChanges = 200_000
)

// maxKept is how much of names, links and attributes the changes may hold, in
// bytes. Those that come after it are counted.
const maxKept = 256 << 20

// maxXattr is how much is kept of one extended attribute, in bytes: longer
// ones are compared whole and shown by their sum.
const maxXattr = 256

// Options says what counts as a difference, and what is too much.
type Options struct {
	// Times compares the times of last modification too, to the second.
	Times bool
	// Metadata compares all but the content of regular files, which may take
	// long: two files of one size and different content are then equal.
	Metadata bool
	// Skip leaves out a path, absolute, and everything below it. Optional.
	Skip func(path string) bool
	// MaxBytes is how much content is read, in bytes; 0 stands for
	// DefaultMaxBytes.
	MaxBytes int64
	// MaxChanges is how many changes are kept. More are counted, and the
	// result says so. 0 stands for DefaultMaxChanges.
	MaxChanges int
}

// Kind says what happened to a path.
type Kind string

// What may happen to a path between A and B.
const (
	Added   Kind = "added"   // only in B
	Removed Kind = "removed" // only in A
	Changed Kind = "changed"
)

// Field is a property in which a file differs.
type Field string

// The properties of a file.
const (
	Type    Field = "type"
	Mode    Field = "mode" // permissions with setuid, setgid and sticky bit
	Owner   Field = "owner"
	Xattrs  Field = "xattrs"
	Size    Field = "size"
	Content Field = "content"
	Link    Field = "link" // where a symbolic link points
	Device  Field = "device"
	Time    Field = "time"
)

// Change is one path that differs.
type Change struct {
	Path   string  `json:"path"` // absolute
	Kind   Kind    `json:"kind"`
	Fields []Field `json:"fields,omitempty"` // of a changed path, in the order of the list above
	A      *File   `json:"a,omitempty"`      // nil if added
	B      *File   `json:"b,omitempty"`      // nil if removed
}

// File is what a path holds.
type File struct {
	Type  string `json:"type"` // file, directory, link, pipe, socket, block device, character device
	Mode  string `json:"mode"` // octal, four digits
	UID   uint32 `json:"uid"`
	GID   uint32 `json:"gid"`
	Size  int64  `json:"size,omitempty"`   // bytes, of a regular file
	SHA   string `json:"sha256,omitempty"` // of a regular file, where its content was read
	Link  string `json:"link,omitempty"`
	Major uint32 `json:"major,omitempty"`
	Minor uint32 `json:"minor,omitempty"`
	// Xattrs are quoted if they are printable, and sums otherwise.
	Xattrs map[string]string `json:"xattrs,omitempty"`
	Time   time.Time         `json:"time,omitzero"`
}

// Result is all in which two trees differ.
type Result struct {
	// Changes in the order of paths, a directory before what is in it.
	Changes []Change `json:"changes"`
	// Total is how many there are; more than len(Changes) if not all were kept.
	Total int `json:"total"`
	// FilesA and FilesB are how many names were compared, BytesA and BytesB
	// the sum of the sizes of their regular files, each link of one counted.
	FilesA int   `json:"filesA"`
	FilesB int   `json:"filesB"`
	BytesA int64 `json:"bytesA"`
	BytesB int64 `json:"bytesB"`
}

// Same tells whether nothing differs.
func (r Result) Same() bool { return r.Total == 0 }

// Trees compares the trees a and b. The error carries exit code 2 if one of
// them is damaged or exceeds a bound, and 75 if it could not be read.
func Trees(ctx context.Context, a, b target.FS, opts Options) (Result, error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = DefaultMaxBytes
	}
	if opts.MaxChanges == 0 {
		opts.MaxChanges = DefaultMaxChanges
	}
	c := &comparison{ctx: ctx, a: side{fs: a}, b: side{fs: b}, opts: opts, same: map[pair]bool{}, left: opts.MaxBytes}
	if err := c.root(); err != nil {
		// A directory that holds itself, in a damaged or hostile image, ends
		// in a name that is too long to resolve.
		if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENAMETOOLONG) {
			err = exitcode.BadInput(err)
		}
		return Result{}, fmt.Errorf("comparing trees: %w", err)
	}
	c.result.FilesA, c.result.BytesA = c.a.names, c.a.bytes
	c.result.FilesB, c.result.BytesB = c.b.names, c.b.bytes
	return c.result, nil
}

// side is one of the two trees.
type side struct {
	fs    target.FS
	names int
	bytes int64
}

// pair is two inodes, whose content is compared once however many names they have.
type pair struct{ a, b uint64 }

type comparison struct {
	ctx    context.Context
	a, b   side
	opts   Options
	same   map[pair]bool
	left   int64 // bytes of content that may still be read
	kept   int   // bytes of names, links and attributes in result
	result Result
}

// root compares the two tops, and everything below them.
func (c *comparison) root() error {
	a, err := c.a.fs.Lstat(".")
	if err != nil {
		return err
	}
	b, err := c.b.fs.Lstat(".")
	if err != nil {
		return err
	}
	fields, err := c.fields(".", a, b)
	if err != nil {
		return err
	}
	if len(fields) > 0 {
		if err := c.keep(".", Changed, fields, a, b); err != nil {
			return err
		}
	}
	return c.directory(".")
}

// directory compares what two directories of one name hold.
func (c *comparison) directory(name string) error {
	in, err := c.a.fs.ReadDir(name)
	if err != nil {
		return err
	}
	out, err := c.b.fs.ReadDir(name)
	if err != nil {
		return err
	}
	for len(in) > 0 || len(out) > 0 {
		if err := c.ctx.Err(); err != nil {
			return context.Cause(c.ctx)
		}
		var ea, eb fs.DirEntry
		switch {
		case len(out) == 0 || len(in) > 0 && in[0].Name() < out[0].Name():
			ea, in = in[0], in[1:]
		case len(in) == 0 || out[0].Name() < in[0].Name():
			eb, out = out[0], out[1:]
		default:
			ea, eb, in, out = in[0], out[0], in[1:], out[1:]
		}
		e := ea
		if e == nil {
			e = eb
		}
		if err := c.entry(path.Join(name, e.Name()), ea, eb); err != nil {
			return err
		}
	}
	return nil
}

// entry compares one name, of which one side may be missing.
func (c *comparison) entry(name string, ea, eb fs.DirEntry) error {
	if c.opts.Skip != nil && c.opts.Skip("/"+name) {
		return nil
	}
	a, err := c.a.info(ea, name)
	if err != nil {
		return err
	}
	b, err := c.b.info(eb, name)
	if err != nil {
		return err
	}
	if a != nil && b != nil {
		fields, err := c.fields(name, a, b)
		if err != nil {
			return err
		}
		if len(fields) > 0 {
			if err := c.keep(name, Changed, fields, a, b); err != nil {
				return err
			}
		}
		if a.IsDir() && b.IsDir() {
			return c.directory(name)
		}
	} else if a != nil {
		err = c.keep(name, Removed, nil, a, nil)
	} else {
		err = c.keep(name, Added, nil, nil, b)
	}
	if err != nil {
		return err
	}
	// What is below a directory that the other side has not is all different.
	if a != nil && a.IsDir() {
		err = c.only(&c.a, name, Removed)
	} else if b != nil && b.IsDir() {
		err = c.only(&c.b, name, Added)
	}
	return err
}

// only lists what is below a directory that one side alone has.
func (c *comparison) only(s *side, name string, kind Kind) error {
	entries, err := s.fs.ReadDir(name)
	if err != nil {
		return err
	}
	for _, e := range entries {
		var ea, eb fs.DirEntry
		if kind == Removed {
			ea = e
		} else {
			eb = e
		}
		if err := c.ctx.Err(); err != nil {
			return context.Cause(c.ctx)
		}
		if err := c.entry(path.Join(name, e.Name()), ea, eb); err != nil {
			return err
		}
	}
	return nil
}

// info describes an entry, nil for none, and counts it.
func (s *side) info(e fs.DirEntry, name string) (fs.FileInfo, error) {
	if e == nil {
		return nil, nil
	}
	if s.names++; s.names > target.MaxWalk {
		return nil, badf("more than %d names", target.MaxWalk)
	}
	fi, err := e.Info()
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", name, err)
	}
	if fi.Mode().IsRegular() {
		s.bytes += fi.Size()
	}
	return fi, nil
}

// fields lists in what two files differ.
func (c *comparison) fields(name string, a, b fs.FileInfo) ([]Field, error) {
	var fields []Field
	sa, _ := target.SysOf(a)
	sb, _ := target.SysOf(b)
	one := a.Mode().Type() == b.Mode().Type()
	note := func(differs bool, f Field) {
		if differs {
			fields = append(fields, f)
		}
	}
	note(!one, Type)
	// The permissions of a link mean nothing.
	note(a.Mode()&^fs.ModeType != b.Mode()&^fs.ModeType && a.Mode()&b.Mode()&fs.ModeSymlink == 0, Mode)
	note(sa.UID != sb.UID || sa.GID != sb.GID, Owner)
	xa, err := xattrs(c.a.fs, name)
	if err != nil {
		return nil, err
	}
	xb, err := xattrs(c.b.fs, name)
	if err != nil {
		return nil, err
	}
	note(!equalXattrs(xa, xb), Xattrs)
	switch {
	case !one:
	case a.Mode().IsRegular() && a.Size() != b.Size():
		fields = append(fields, Size, Content)
	case a.Mode().IsRegular() && !c.opts.Metadata:
		same, err := c.sameContent(name, a.Size(), pair{sa.Inode, sb.Inode}, sa.Links > 1 && sb.Links > 1)
		if err != nil {
			return nil, err
		}
		note(!same, Content)
	case a.Mode()&fs.ModeSymlink != 0:
		la, err := c.a.fs.ReadLink(name)
		if err != nil {
			return nil, err
		}
		lb, err := c.b.fs.ReadLink(name)
		if err != nil {
			return nil, err
		}
		note(la != lb, Link)
	case a.Mode()&fs.ModeDevice != 0:
		note(sa.Major != sb.Major || sa.Minor != sb.Minor, Device)
	}
	note(c.opts.Times && !a.ModTime().Truncate(time.Second).Equal(b.ModTime().Truncate(time.Second)), Time)
	return fields, nil
}

// keep records a change with all that is known of both files.
func (c *comparison) keep(name string, kind Kind, fields []Field, a, b fs.FileInfo) error {
	if c.result.Total++; len(c.result.Changes) >= c.opts.MaxChanges || c.kept > maxKept {
		return nil
	}
	content := kind != Changed || slices.Contains(fields, Content) || slices.Contains(fields, Type)
	change := Change{Path: path.Clean("/" + name), Kind: kind, Fields: fields}
	var err error
	if change.A, err = c.describe(&c.a, name, a, content); err != nil {
		return err
	}
	if change.B, err = c.describe(&c.b, name, b, content); err != nil {
		return err
	}
	c.kept += len(name) + change.A.text() + change.B.text()
	c.result.Changes = append(c.result.Changes, change)
	return nil
}

// describe says what is known of a file, with the sum of its content if that
// is asked for.
func (c *comparison) describe(s *side, name string, fi fs.FileInfo, content bool) (*File, error) {
	if fi == nil {
		return nil, nil
	}
	sys, _ := target.SysOf(fi)
	f := &File{Type: typeName(fi.Mode()), Mode: octal(fi.Mode()), UID: sys.UID, GID: sys.GID}
	if c.opts.Times {
		f.Time = fi.ModTime().UTC().Truncate(time.Second)
	}
	var err error
	switch m := fi.Mode(); {
	case m.IsRegular():
		f.Size = fi.Size()
		if content && !c.opts.Metadata {
			if f.SHA, err = c.sum(s.fs, name, fi.Size()); err != nil {
				return nil, err
			}
		}
	case m&fs.ModeSymlink != 0:
		f.Link, err = s.fs.ReadLink(name)
	case m&fs.ModeDevice != 0:
		f.Major, f.Minor = sys.Major, sys.Minor
	}
	if err != nil {
		return nil, err
	}
	x, err := xattrs(s.fs, name)
	if err != nil {
		return nil, err
	}
	f.Xattrs = showXattrs(x)
	return f, nil
}

// text is how many bytes of the image's own words a file holds.
func (f *File) text() int {
	if f == nil {
		return 0
	}
	n := len(f.Link)
	for k, v := range f.Xattrs {
		n += len(k) + len(v)
	}
	return n
}

// octal is a mode as chmod takes it.
func octal(m fs.FileMode) string {
	bits := uint32(m.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return fmt.Sprintf("%04o", bits)
}

func typeName(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "link"
	case m&fs.ModeNamedPipe != 0:
		return "pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeCharDevice != 0:
		return "character device"
	case m&fs.ModeDevice != 0:
		return "block device"
	}
	return "file"
}

// xattrs are a file's extended attributes; a host or a target that has none of
// them has none of this file.
func xattrs(fsys target.FS, name string) (map[string][]byte, error) {
	x, err := fsys.Xattrs(name)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil
	}
	return x, err
}

func equalXattrs(a, b map[string][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || string(v) != string(w) {
			return false
		}
	}
	return true
}

func badf(format string, args ...any) error {
	return exitcode.BadInput(fmt.Errorf(format, args...))
}

// Summary is one line for people: 3 changed, 1 added.
func (r Result) Summary() string {
	if r.Same() {
		return "no difference"
	}
	count := map[Kind]int{}
	for _, c := range r.Changes {
		count[c.Kind]++
	}
	var parts []string
	for _, k := range []Kind{Changed, Added, Removed} {
		if count[k] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[k], k))
		}
	}
	if rest := r.Total - len(r.Changes); rest > 0 {
		parts = append(parts, fmt.Sprintf("%d more that are not listed", rest))
	}
	return strings.Join(parts, ", ")
}
