package fat

import (
	"encoding/binary"
	"io"
	"io/fs"
	"strings"
	"time"
	"unicode/utf16"
)

const (
	attrReadOnly = 0x01
	attrVolume   = 0x08
	attrDir      = 0x10
	attrLong     = 0x0f
)

// Entry is a file or a directory.
type Entry struct {
	Name     string // the long name, or the short one
	Dir      bool
	ReadOnly bool
	Size     int64
	ModTime  time.Time // in the unknown time zone of who wrote it, taken as UTC

	fs    *FS
	short string
	first uint32
	root  bool
}

// Root returns the root directory.
func (f *FS) Root() *Entry { return &Entry{Name: ".", Dir: true, fs: f, first: f.root, root: true} }

// content reads a directory's bytes.
func (e *Entry) content() ([]byte, error) {
	f := e.fs
	if e.root && f.bits != 32 {
		b := make([]byte, min(f.rootLen, maxDirBytes))
		return b, readFull(f.r, b, f.rootAt, "root directory")
	}
	clusters, err := f.chain(e.first, (maxDirBytes+f.cluster-1)/f.cluster, true)
	if err != nil {
		return nil, err
	}
	b := make([]byte, int64(len(clusters))*f.cluster)
	for i, c := range clusters {
		if err := readFull(f.r, b[int64(i)*f.cluster:int64(i+1)*f.cluster], f.clusterAt(c), "directory"); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Entries lists a directory without "." and "..". Directories that form no
// tree are an error, so that a walk ends.
func (e *Entry) Entries() ([]*Entry, error) {
	b, err := e.content()
	if err != nil {
		return nil, err
	}
	var out []*Entry
	var long longName
	seen := map[uint32]bool{e.first: true}
	for ; len(b) >= 32 && b[0] != 0; b = b[32:] {
		switch {
		case b[0] == 0xe5: // deleted
			long = longName{}
			continue
		case b[11]&0x3f == attrLong:
			long.add(b)
			continue
		case b[11]&attrVolume != 0, b[0] == '.':
			long = longName{}
			continue
		}
		c := e.fs.parse(b[:32], long.name(b[:11]))
		long = longName{}
		if strings.ContainsAny(c.Name, "/\x00") || c.Name == "" || c.Name == "." || c.Name == ".." {
			return nil, corrupt("name %q in the directory at cluster %d", c.Name, e.first)
		}
		if c.Dir && seen[c.first] {
			return nil, corrupt("directory %q is the same as another: directories form no tree", c.Name)
		}
		if c.Dir {
			seen[c.first] = true
			if err := c.checkParent(e); err != nil {
				return nil, err
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// checkParent checks that the directory's ".." is parent. The root is 0 there,
// also on FAT32.
func (e *Entry) checkParent(parent *Entry) error {
	if e.first < 2 || e.first-2 >= e.fs.count {
		return corrupt("directory %q at cluster %d of %d", e.Name, e.first, e.fs.count)
	}
	var b [64]byte
	if err := readFull(e.fs.r, b[:], e.fs.clusterAt(e.first), "directory"); err != nil {
		return err
	}
	want := parent.first
	if parent.root {
		want = 0
	}
	// Some tools write the root's own number there on FAT32.
	if got := firstCluster(b[32:], e.fs.bits); string(b[32:43]) != "..         " || got != want && !(parent.root && got == e.fs.root) {
		return corrupt("directory %q does not name the directory that lists it as its parent: directories form no tree", e.Name)
	}
	return nil
}

func firstCluster(b []byte, bits int) uint32 {
	le := binary.LittleEndian
	c := uint32(le.Uint16(b[26:]))
	if bits == 32 {
		c |= uint32(le.Uint16(b[20:])) << 16
	}
	return c
}

func (f *FS) parse(b []byte, long string) *Entry {
	le := binary.LittleEndian
	e := &Entry{
		Name: long, Dir: b[11]&attrDir != 0, ReadOnly: b[11]&attrReadOnly != 0,
		fs: f, short: shortName(b), first: firstCluster(b, f.bits),
	}
	if e.Name == "" {
		e.Name = e.short
	}
	if !e.Dir {
		e.Size = int64(le.Uint32(b[28:]))
	}
	d, t := le.Uint16(b[24:]), le.Uint16(b[22:])
	e.ModTime = time.Date(1980+int(d>>9), time.Month(d>>5&15), int(d&31), int(t>>11), int(t>>5&63), int(t&31)*2, 0, time.UTC)
	return e
}

// shortName spells an 8.3 name; bits in byte 12 say which half is lower case.
func shortName(b []byte) string {
	base, ext := strings.TrimRight(string(b[:8]), " "), strings.TrimRight(string(b[8:11]), " ")
	if b[0] == 0x05 {
		base = "\xe5" + base[1:]
	}
	if b[12]&0x08 != 0 {
		base = strings.ToLower(base)
	}
	if b[12]&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext == "" {
		return base
	}
	return base + "." + ext
}

// longName collects the entries that carry a long name, last part first.
type longName struct {
	chars []uint16
	next  byte // the number that must come next
	sum   byte
}

func (l *longName) add(b []byte) {
	n := b[0] & 0x3f
	if b[0]&0x40 != 0 {
		*l = longName{next: n, sum: b[13]}
	}
	if n == 0 || n > 20 || n != l.next || b[13] != l.sum {
		*l = longName{}
		return
	}
	part := make([]uint16, 0, 13+len(l.chars))
	for _, r := range [...][2]int{{1, 11}, {14, 26}, {28, 32}} {
		for i := r[0]; i < r[1]; i += 2 {
			part = append(part, binary.LittleEndian.Uint16(b[i:]))
		}
	}
	l.chars = append(part, l.chars...)
	l.next--
}

// name returns the collected name if it is complete and belongs to the short
// name that follows.
func (l *longName) name(short []byte) string {
	var sum byte
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	if l.chars == nil || l.next != 0 || l.sum != sum {
		return ""
	}
	for i, c := range l.chars {
		if c == 0 {
			l.chars = l.chars[:i]
			break
		}
	}
	return string(utf16.Decode(l.chars))
}

// Lookup finds a name in a directory, in any case and in its short form, like a
// firmware does. The error is fs.ErrNotExist when there is none.
func (e *Entry) Lookup(name string) (*Entry, error) {
	list, err := e.Entries()
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		if strings.EqualFold(c.Name, name) || strings.EqualFold(c.short, name) {
			return c, nil
		}
	}
	return nil, fs.ErrNotExist
}

// Open returns a file's content.
func (e *Entry) Open() (io.ReaderAt, error) {
	if e.Size == 0 {
		return &reader{e: e}, nil
	}
	n := (e.Size + e.fs.cluster - 1) / e.fs.cluster
	clusters, err := e.fs.chain(e.first, n, false)
	if err != nil {
		return nil, err
	}
	if int64(len(clusters)) < n {
		return nil, corrupt("file %q has %d clusters, its size of %d bytes needs %d", e.Name, len(clusters), e.Size, n)
	}
	return &reader{e, clusters}, nil
}

type reader struct {
	e        *Entry
	clusters []uint32
}

func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	f, done := r.e.fs, 0
	for done < len(p) {
		if off >= r.e.Size {
			return done, io.EOF
		}
		in := off % f.cluster
		n := int(min(int64(len(p)-done), f.cluster-in, r.e.Size-off))
		if err := readFull(f.r, p[done:done+n], f.clusterAt(r.clusters[off/f.cluster])+in, "file data"); err != nil {
			return done, err
		}
		done, off = done+n, off+int64(n)
	}
	return done, nil
}
