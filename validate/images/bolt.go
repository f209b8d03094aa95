package images

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// The databases of containerd are bbolt files. They are read here page by page
// and not by bbolt itself: bbolt maps the file and trusts it, so that a page
// number in a damaged or hostile image ends the process with a bus error, and
// a branch that points at itself never ends. The tests write with bbolt.

const (
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	pageHeader   = 16
	element      = 16 // of branch and leaf pages alike
	metaSize     = 64 // with its checksum
	maxBoltDepth = 32 // of one B+ tree; a tree of 2^32 keys has six levels
	// maxBoltRead bounds the bytes read of one database, maxPage one page
	// with its overflow. The database of a node with a hundred images has
	// about 4 MiB.
	maxBoltRead = 256 << 20
	maxPage     = 16 << 20
)

var errBolt = errors.New("damaged bolt database")

// bolt is an open database.
type bolt struct {
	r        io.ReaderAt
	pageSize int64
	root     uint64
	left     int64 // bytes that may still be read or handed out
}

// bucket is a tree of keys: a page, or for a small one its inline page.
type bucket struct {
	page   uint64
	inline []byte
}

func damaged(format string, args ...any) error {
	return exitcode.BadInput(fmt.Errorf("%w: %s", errBolt, fmt.Sprintf(format, args...)))
}

// openBolt reads the two meta pages and takes the newer one that is whole.
func openBolt(r io.ReaderAt) (*bolt, error) {
	b := &bolt{r: r, left: maxBoltRead}
	var newest uint64
	found := false
	// Page 1 is one page size behind page 0, which may be the damaged one.
	for _, at := range []int64{0, 4096, 8192, 16384, 32768, 65536, 1024, 2048} {
		buf := make([]byte, pageHeader+metaSize)
		if n, err := r.ReadAt(buf, at); n < len(buf) {
			if err != nil && err != io.EOF {
				return nil, fmt.Errorf("read bolt database: %w", err)
			}
			continue
		}
		m := buf[pageHeader:]
		le := binary.LittleEndian
		size := int64(le.Uint32(m[8:]))
		if le.Uint32(m) != boltMagic || le.Uint32(m[4:]) != boltVersion || size < 1024 || size > 65536 || size&(size-1) != 0 || at != 0 && at != size {
			continue
		}
		h := fnv.New64a()
		h.Write(m[:metaSize-8])
		if h.Sum64() != le.Uint64(m[metaSize-8:]) {
			continue
		}
		if tx := le.Uint64(m[48:]); !found || tx > newest {
			found, newest = true, tx
			b.pageSize, b.root = size, le.Uint64(m[16:])
		}
	}
	if !found {
		return nil, damaged("no valid meta page")
	}
	return b, nil
}

// page reads a page with its overflow.
func (b *bolt) page(id uint64) ([]byte, error) {
	if id > 1<<40 {
		return nil, damaged("page %d", id)
	}
	head := make([]byte, pageHeader)
	if err := b.read(head, int64(id)*b.pageSize); err != nil {
		return nil, err
	}
	if got := binary.LittleEndian.Uint64(head); got != id {
		return nil, damaged("page %d says it is page %d", id, got)
	}
	size := (int64(binary.LittleEndian.Uint32(head[12:])) + 1) * b.pageSize
	if size > maxPage {
		return nil, damaged("page %d has %d bytes, want at most %d", id, size, maxPage)
	}
	buf := make([]byte, size)
	return buf, b.read(buf, int64(id)*b.pageSize)
}

func (b *bolt) read(buf []byte, at int64) error {
	if b.left -= int64(len(buf)); b.left < 0 {
		return damaged("more than %d bytes are to be read", maxBoltRead)
	}
	n, err := b.r.ReadAt(buf, at)
	if n < len(buf) {
		if err == io.EOF || err == nil {
			return damaged("ends within a page at offset %d", at)
		}
		return fmt.Errorf("read bolt database: %w", err)
	}
	return nil
}

// top is the bucket that holds all others.
func (b *bolt) top() bucket { return bucket{page: b.root} }

// each calls f for every key of a bucket, in order. For a nested bucket sub is
// set and value is nil. The slices are f's to keep.
func (b *bolt) each(k bucket, f func(key, value []byte, sub *bucket) error) error {
	if k.inline != nil {
		return b.walk(k.inline, 0, f)
	}
	p, err := b.page(k.page)
	if err != nil {
		return err
	}
	return b.walk(p, 0, f)
}

func (b *bolt) walk(p []byte, depth int, f func(key, value []byte, sub *bucket) error) error {
	if depth > maxBoltDepth {
		return damaged("a tree is more than %d levels deep", maxBoltDepth)
	}
	if len(p) < pageHeader {
		return damaged("inline page of %d bytes", len(p))
	}
	le := binary.LittleEndian
	flags, count := le.Uint16(p[8:]), int(le.Uint16(p[10:]))
	if pageHeader+count*element > len(p) {
		return damaged("%d elements in a page of %d bytes", count, len(p))
	}
	for i := range count {
		at := pageHeader + i*element
		e := p[at : at+element]
		// Positions count from the element.
		cut := func(from, size uint64) ([]byte, error) {
			if from > uint64(len(p)-at) || size > uint64(len(p)-at)-from {
				return nil, damaged("an element reaches beyond its page")
			}
			return p[at+int(from):][:size:size], nil
		}
		switch flags {
		case 0x01: // branch
			child, err := b.page(le.Uint64(e[8:]))
			if err != nil {
				return err
			}
			if err := b.walk(child, depth+1, f); err != nil {
				return err
			}
		case 0x02: // leaf
			pos, ksize, vsize := uint64(le.Uint32(e[4:])), uint64(le.Uint32(e[8:])), uint64(le.Uint32(e[12:]))
			key, err := cut(pos, ksize)
			if err != nil {
				return err
			}
			value, err := cut(pos+ksize, vsize)
			if err != nil {
				return err
			}
			// Elements of a hostile page may overlap, and be many more bytes
			// than the page has.
			if b.left -= int64(element + ksize + vsize); b.left < 0 {
				return damaged("more than %d bytes of keys and values", maxBoltRead)
			}
			if le.Uint32(e)&1 == 0 {
				if err := f(key, value, nil); err != nil {
					return err
				}
				continue
			}
			if len(value) < 16 {
				return damaged("bucket %.80q of %d bytes", key, len(value))
			}
			sub := &bucket{page: le.Uint64(value)}
			if sub.page == 0 {
				sub.inline = value[16:]
			}
			if err := f(key, nil, sub); err != nil {
				return err
			}
		default:
			return damaged("a page of kind %#x in a tree", flags)
		}
	}
	return nil
}

// find returns the bucket at a path of keys, nil if there is none.
func (b *bolt) find(k bucket, path ...string) (*bucket, error) {
	for _, want := range path {
		var next *bucket
		err := b.each(k, func(key, _ []byte, sub *bucket) error {
			if sub != nil && string(key) == want {
				next = sub
				return errFound
			}
			return nil
		})
		if err != nil && err != errFound {
			return nil, err
		}
		if next == nil {
			return nil, nil
		}
		k = *next
	}
	return &k, nil
}

// errFound ends a walk early.
var errFound = errors.New("found")

// values returns the plain keys of a bucket.
func (b *bolt) values(k bucket) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := b.each(k, func(key, value []byte, sub *bucket) error {
		if sub == nil {
			out[string(key)] = value
		}
		return nil
	})
	return out, err
}

// texts returns the plain keys of the bucket at path as strings, for labels.
func (b *bolt) texts(k bucket, path ...string) (map[string]string, error) {
	at, err := b.find(k, path...)
	if err != nil || at == nil {
		return nil, err
	}
	vs, err := b.values(*at)
	out := map[string]string{}
	for key, v := range vs {
		out[key] = string(v)
	}
	return out, err
}

// varint decodes a signed number.
func varint(v []byte) int64 {
	n, _ := binary.Varint(v)
	return n
}
