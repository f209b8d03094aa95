package ext4

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// images are made by testdata/make.sh of the package above.
var images = []string{"ext4", "metabg", "inline", "ext2"}

func load(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open("../../testdata/" + name + ".img.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t testing.TB, b []byte) *FS {
	t.Helper()
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func walk(f *FS, p string) (*Inode, error) {
	in, err := f.Root()
	for _, c := range strings.Split(p, "/") {
		if err != nil {
			return nil, err
		}
		in, err = in.Lookup(c)
	}
	return in, err
}

func mustWalk(t testing.TB, f *FS, p string) *Inode {
	t.Helper()
	in, err := walk(f, p)
	if err != nil {
		t.Fatalf("%s: %v", p, err)
	}
	return in
}

func content(t testing.TB, in *Inode) string {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(in, 0, in.Size))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// holes is what make.sh wrote: pieces of 8 bytes, 5000 apart.
func holes(size int64) string {
	b := make([]byte, size)
	for i := range 20 {
		copy(b[i*5000:], fmt.Sprintf("piece%03d", i))
	}
	return string(b)
}

func TestFileSystemsOfEveryLayoutReadTheSame(t *testing.T) {
	t.Parallel()
	for _, name := range images {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := open(t, load(t, name))
			if f.Label() != name {
				t.Errorf("label %q, want %q", f.Label(), name)
			}
			if got := content(t, mustWalk(t, f, "etc/hostname")); got != "node\n" {
				t.Errorf("etc/hostname holds %q", got)
			}
			h := mustWalk(t, f, "holes")
			if d := cmp.Diff(holes(h.Size), content(t, h)); d != "" {
				t.Errorf("a file with holes reads wrong:\n%s", d)
			}
			// A read that starts and ends inside holes and pieces.
			b := make([]byte, 30000)
			if n, err := h.ReadAt(b, 4999); n != len(b) || err != nil || string(b) != holes(h.Size)[4999:34999] {
				t.Errorf("ReadAt 4999: %d bytes, %v, or wrong bytes", n, err)
			}
			if h.Allocated >= h.Size {
				t.Errorf("%d bytes are allocated for a sparse file of %d", h.Allocated, h.Size)
			}
			for i := range 100 {
				in := mustWalk(t, f, fmt.Sprintf("many/a-name-of-some-length-%d", i))
				if got := content(t, in); got != fmt.Sprintf("%d\n", i) {
					t.Errorf("file %d of a large directory holds %q", i, got)
				}
			}
			names := map[string]bool{}
			if err := mustWalk(t, f, "many").Entries(func(e Entry) bool { names[e.Name] = true; return true }); err != nil || len(names) != 100 {
				t.Errorf("a large directory lists %d names (%v), want 100", len(names), err)
			}
			for p, want := range map[string]string{
				"etc/shadow-link": "/etc/shadow",
				"etc/up":          "../../../../../etc/shadow",
				"etc/slow":        strings.Repeat("./", 50) + "hostname",
			} {
				if got, err := mustWalk(t, f, p).Readlink(); err != nil || got != want {
					t.Errorf("link %s is %q (%v), want %q", p, got, err, want)
				}
			}
			if _, err := walk(f, "etc/none"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a missing name: %v, want fs.ErrNotExist", err)
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	type meta struct {
		Mode         fs.FileMode
		UID, GID     uint32
		Links        uint16
		Major, Minor uint32
		Time         int64
		Capability   string
	}
	const capNetRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	const when = 1700000000
	want := map[string]meta{
		"usr/bin/su":    {Mode: 0o755 | fs.ModeSetuid, UID: 12, GID: 70000, Links: 1, Time: when},
		"usr/bin/ping6": {Mode: 0o755, Links: 2, Time: when, Capability: capNetRaw},
		"dev/pipe":      {Mode: 0o644 | fs.ModeNamedPipe, Links: 1, Time: when},
		"dev/null":      {Mode: 0o644 | fs.ModeDevice | fs.ModeCharDevice, Links: 1, Major: 1, Minor: 3, Time: when},
		"dev/disk":      {Mode: 0o644 | fs.ModeDevice, Links: 1, Major: 259, Minor: 70000, Time: when},
		"etc":           {Mode: 0o755 | fs.ModeDir, Links: 3, Time: when},
	}
	for _, name := range images {
		f := open(t, load(t, name))
		for p, w := range want {
			in := mustWalk(t, f, p)
			x, err := in.Xattrs()
			if err != nil {
				t.Fatalf("%s: %s: %v", name, p, err)
			}
			got := meta{in.Mode, in.UID, in.GID, in.Links, in.Major, in.Minor, in.ModTime.Unix(), string(x["security.capability"])}
			if d := cmp.Diff(w, got); d != "" {
				t.Errorf("%s: %s (-want +got):\n%s", name, p, d)
			}
		}
	}
}

func TestTebibyteHoleCostsNothing(t *testing.T) {
	t.Parallel()
	f := open(t, load(t, "ext4"))
	in := mustWalk(t, f, "huge")
	if in.Size != 1<<40 {
		t.Fatalf("size %d, want 1 TiB", in.Size)
	}
	b := bytes.Repeat([]byte{1}, 4096)
	if n, err := in.ReadAt(b, 1<<40-100); n != 100 || !errors.Is(err, io.EOF) || !bytes.Equal(b[:100], make([]byte, 100)) {
		t.Errorf("the end of a hole: %d bytes, %v, want 100 zeros and io.EOF", n, err)
	}
}

// resum makes the superblock's checksum right again.
func resum(b []byte) {
	s := b[superOffset : superOffset+superSize]
	binary.LittleEndian.PutUint32(s[0x3fc:], ^crc32.Checksum(s[:0x3fc], crc32.MakeTable(crc32.Castagnoli)))
}

func TestOpenRefusesByName(t *testing.T) {
	t.Parallel()
	le := binary.LittleEndian
	or := func(at int, bits uint32) func([]byte) {
		return func(s []byte) { le.PutUint32(s[at:], le.Uint32(s[at:])|bits) }
	}
	put := func(at int, v uint32) func([]byte) { return func(s []byte) { le.PutUint32(s[at:], v) } }
	tests := map[string]struct {
		change func(super []byte)
		want   string
	}{
		"dirty journal":       {or(0x60, incompRecover), "needs_recovery"},
		"errors recorded":     {func(s []byte) { s[0x3a] |= stateErrors }, "records errors"},
		"not unmounted":       {func(s []byte) { s[0x3a] = 0 }, "not unmounted cleanly"},
		"compression":         {or(0x60, 1), "compression"},
		"journal device":      {or(0x60, 8), "journal_dev"},
		"unknown feature":     {or(0x60, 1<<30), "unknown incompatible features 0x40000000"},
		"block size":          {put(0x18, 7), "block size"},
		"inode size":          {func(s []byte) { le.PutUint16(s[0x58:], 100) }, "inode size 100"},
		"descriptor size":     {func(s []byte) { le.PutUint16(s[0xfe:], 3) }, "group descriptor size 3"},
		"no blocks a group":   {put(0x20, 0), "0 blocks"},
		"too many inodes":     {put(0, 1<<31), "2147483648 inodes"},
		"larger than volume":  {put(4, 1<<20), "truncated"},
		"blocks past 2^63":    {put(0x150, 1<<31), "truncated"},
		"first block":         {put(0x14, 9), "first data block 9"},
		"not an ext4 at all":  {put(0x38, 0), "magic number"},
		"checksum is checked": {nil, "superblock checksum"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := load(t, "ext4")
			if tt.change != nil {
				tt.change(b[superOffset:])
				resum(b)
			} else {
				b[superOffset+0x78] ^= 1 // the label
			}
			_, err := Open(bytes.NewReader(b), int64(len(b)))
			wantBad(t, err, tt.want)
		})
	}
	t.Run("truncated", func(t *testing.T) {
		t.Parallel()
		b := load(t, "ext4")
		for _, n := range []int{0, 1023, 1500, 2048, len(b) - 1} {
			_, err := Open(bytes.NewReader(b[:n]), int64(n))
			wantBad(t, err, "truncated")
		}
	})
}

func wantBad(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || exitcode.Of(err) != exitcode.Usage {
		t.Errorf("got error %v with exit code %d, want one that says %q with 2", err, exitcode.Of(err), want)
	}
}

// inodeBytes returns the place of an inode in the image.
func inodeBytes(t testing.TB, f *FS, b []byte, n uint32) []byte {
	t.Helper()
	table, err := f.inodeTable(uint64(n-1) / uint64(f.inodesPerGroup))
	if err != nil {
		t.Fatal(err)
	}
	at := table*uint64(f.blockSize) + uint64((n-1)%f.inodesPerGroup)*uint64(f.inodeSize)
	return b[at : at+uint64(f.inodeSize)]
}

// dirBlock returns the first block of a directory in the image.
func dirBlock(t testing.TB, f *FS, b []byte, p string) []byte {
	t.Helper()
	m, err := mustWalk(t, f, p).mapBlock(0)
	if err != nil {
		t.Fatal(err)
	}
	return b[m.physical*uint64(f.blockSize):][:f.blockSize]
}

func TestDamage(t *testing.T) {
	t.Parallel()
	le := binary.LittleEndian
	edit := func(p string, change func(inode []byte)) func(testing.TB, *FS, []byte) {
		return func(t testing.TB, f *FS, b []byte) {
			change(inodeBytes(t, f, b, mustWalk(t, f, p).Number))
		}
	}
	tests := map[string]struct {
		path   string // that is read after the change
		change func(testing.TB, *FS, []byte)
		want   string
	}{
		"directory loop": {"a/b/c/x", func(t testing.TB, f *FS, b []byte) {
			a := mustWalk(t, f, "a").Number
			le.PutUint32(dirBlock(t, f, b, "a/b")[24:], a) // the entry behind . and ..
		}, "form no tree"},
		"directory that leads to the root": {"a/b/c/x", func(t testing.TB, f *FS, b []byte) {
			le.PutUint32(dirBlock(t, f, b, "a/b")[24:], rootInode)
		}, "form no tree"},
		"entry of length 0": {"a/x", func(t testing.TB, f *FS, b []byte) {
			le.PutUint16(dirBlock(t, f, b, "a")[24+4:], 0)
		}, "entry of 0 bytes"},
		"name longer than its entry": {"a/x", func(t testing.TB, f *FS, b []byte) {
			dirBlock(t, f, b, "a")[6] = 200
		}, "name of 200 bytes"},
		"name with a slash": {"a/x", func(t testing.TB, f *FS, b []byte) {
			dirBlock(t, f, b, "a")[24+8] = '/'
		}, `name "/"`},
		"entry to an inode that is not there": {"a/b", func(t testing.TB, f *FS, b []byte) {
			le.PutUint32(dirBlock(t, f, b, "a")[24:], 1<<30)
		}, "inode 1073741824"},
		"directory of a size that is no block's": {"a/x", edit("a", func(i []byte) { le.PutUint32(i[4:], 1000) }), "multiple of 1024"},
		"directory of 512 MiB":                   {"a/x", edit("a", func(i []byte) { le.PutUint32(i[4:], 512<<20) }), "accepts 16777216"},
		"directory with a hole":                  {"a/x", edit("a", func(i []byte) { le.PutUint32(i[4:], 2048) }), "hole at byte 1024"},
		"extent outside":                         {"etc/hostname", edit("etc/hostname", func(i []byte) { le.PutUint32(i[0x28+20:], 1<<30) }), "extent of blocks 1073741824"},
		"extents too deep":                       {"etc/hostname", edit("etc/hostname", func(i []byte) { i[0x28+6] = 200 }), "depth 200"},
		"too many extents":                       {"etc/hostname", edit("etc/hostname", func(i []byte) { i[0x28+2] = 50 }), "50 entries"},
		"no extents":                             {"etc/hostname", edit("etc/hostname", func(i []byte) { i[0x28] = 0 }), "extent node with magic"},
		"extent node that is its own child": {"holes", func(t testing.TB, f *FS, b []byte) {
			i := inodeBytes(t, f, b, mustWalk(t, f, "holes").Number)
			child := b[le.Uint32(i[0x28+16:])*f.blockSize:]
			le.PutUint16(child[6:], 1) // an index again
		}, "of depth 1, want 0"},
		"encrypted file":       {"etc/hostname", edit("etc/hostname", func(i []byte) { i[0x21] |= flagEncrypt >> 8 }), "encrypted"},
		"encrypted directory":  {"a/x", edit("a", func(i []byte) { i[0x21] |= flagEncrypt >> 8 }), "encrypted"},
		"inode without a type": {"etc/hostname", edit("etc/hostname", func(i []byte) { le.PutUint16(i, 0o644) }), "no known file type"},
		"link of no length":    {"etc/up", edit("etc/up", func(i []byte) { le.PutUint32(i[4:], 0) }), "target of 0 bytes"},
		"link of 1 GiB":        {"etc/up", edit("etc/up", func(i []byte) { le.PutUint32(i[4:], 1<<30) }), "want 1 to 4095"},
		"attribute outside":    {"usr/bin/ping", edit("usr/bin/ping", func(i []byte) { le.PutUint16(i[128+32+4+2:], 60000) }), "lies outside"},
		"attribute of 1 GiB":   {"usr/bin/ping", edit("usr/bin/ping", func(i []byte) { le.PutUint32(i[128+32+4+8:], 1<<30) }), "want at most"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := load(t, "ext4")
			if err := readPath(open(t, b), strings.TrimSuffix(tt.path, "/x")); err != nil {
				t.Fatalf("before the damage: %v", err)
			}
			tt.change(t, open(t, b), b)
			wantBad(t, readPath(open(t, b), tt.path), tt.want)
		})
	}
}

// readPath reads all that there is to read about a file.
func readPath(f *FS, p string) error {
	in, err := walk(f, p)
	if err != nil {
		return err
	}
	if _, err := in.Xattrs(); err != nil {
		return err
	}
	switch {
	case in.Mode.IsDir():
		return in.Entries(func(Entry) bool { return true })
	case in.Mode&fs.ModeSymlink != 0:
		_, err = in.Readlink()
	case in.Mode.IsRegular():
		_, err = io.CopyN(io.Discard, io.NewSectionReader(in, 0, in.Size), 1<<20)
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	return err
}

func TestTwoNamesForOneDirectoryAreRefused(t *testing.T) {
	t.Parallel()
	b := load(t, "ext4")
	f := open(t, b)
	block := dirBlock(t, f, b, "etc")
	// Turn the first entry behind .. into another name of its neighbour.
	for off := 24; off < len(block)-12; {
		rec := int(binary.LittleEndian.Uint16(block[off+4:]))
		if name := string(block[off+8 : off+8+int(block[off+6])]); name != "kubernetes" && rec >= 12 && block[off+6] > 0 {
			binary.LittleEndian.PutUint32(block[off:], mustWalk(t, f, "etc/kubernetes").Number)
			block[off+7] = 2
			break
		}
		off += rec
	}
	root, err := open(t, b).Root()
	if err != nil {
		t.Fatal(err)
	}
	etc, err := root.Lookup("etc")
	if err != nil {
		t.Fatal(err)
	}
	wantBad(t, etc.Entries(func(Entry) bool { return true }), "twice")
}
