package ext4

import (
	"encoding/binary"
)

const xattrMagic = 0xEA020000

// xattrPrefixes are the name spaces that the format stores as a number.
var xattrPrefixes = [...]string{
	0: "", 1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default",
	4: "trusted.", 6: "security.", 7: "system.", 8: "system.richacl",
}

// Xattrs returns the extended attributes by full name
// ("security.capability"), with the values as stored.
func (in *Inode) Xattrs() (map[string][]byte, error) {
	out, err := in.ibodyXattrs()
	if err != nil {
		return nil, err
	}
	delete(out, "system.data") // where inline_data keeps the rest of a file
	if in.acl == 0 {
		return out, nil
	}
	b := make([]byte, in.fs.blockSize)
	if err := in.fs.readBlock(b, in.acl, 0, "extended attributes"); err != nil {
		return nil, err
	}
	if m := binary.LittleEndian.Uint32(b); m != xattrMagic {
		return nil, corrupt("inode %d: attribute block with magic number %#08x, want %#08x", in.Number, m, uint32(xattrMagic))
	}
	return out, in.parseXattrs(out, b[32:], b)
}

// ibodyXattrs reads the attributes between the inode's fields and its end.
func (in *Inode) ibodyXattrs() (map[string][]byte, error) {
	out := map[string][]byte{}
	if len(in.raw) < 128+4 {
		return out, nil
	}
	start := 128 + int(binary.LittleEndian.Uint16(in.raw[0x80:]))
	if start+4 > len(in.raw) || binary.LittleEndian.Uint32(in.raw[start:]) != xattrMagic {
		return out, nil
	}
	area := in.raw[start+4:]
	return out, in.parseXattrs(out, area, area)
}

// parseXattrs adds the attributes listed in entries, whose values lie in
// values.
func (in *Inode) parseXattrs(out map[string][]byte, entries, values []byte) error {
	le := binary.LittleEndian
	total := 0 // entries may name the same bytes again and again
	for len(entries) >= 4 && le.Uint32(entries) != 0 {
		if len(entries) < 16 || len(entries) < 16+int(entries[0]) {
			return corrupt("inode %d: an attribute's name runs out of its area", in.Number)
		}
		nameLen, index := int(entries[0]), int(entries[1])
		off, inum, size := int(le.Uint16(entries[2:])), le.Uint32(entries[4:]), le.Uint32(entries[8:])
		if index >= len(xattrPrefixes) {
			return corrupt("inode %d: attribute in unknown name space %d", in.Number, index)
		}
		name := xattrPrefixes[index] + string(entries[16:16+nameLen])
		if size > maxXattrValue || total+int(size) > maxXattrTotal {
			return corrupt("inode %d: attribute %q of %d bytes, want at most %d, and %d in all", in.Number, name, size, maxXattrValue, maxXattrTotal)
		}
		total += int(size)
		val := make([]byte, size)
		switch {
		case inum != 0:
			if err := in.readEAInode(inum, val); err != nil {
				return err
			}
		case off+int(size) > len(values):
			return corrupt("inode %d: attribute %q lies outside its area", in.Number, name)
		default:
			copy(val, values[off:])
		}
		out[name] = val
		entries = entries[min(len(entries), (16+nameLen+3)&^3):]
	}
	return nil
}

// readEAInode reads a value that is too large for a block (ea_inode).
func (in *Inode) readEAInode(n uint32, val []byte) error {
	ea, err := in.fs.Inode(n)
	if err != nil {
		return err
	}
	if ea.flags&flagEAInode == 0 || ea.flags&flagInline != 0 || !ea.Mode.IsRegular() || ea.Size != int64(len(val)) {
		return corrupt("inode %d: inode %d does not hold an attribute of %d bytes", in.Number, n, len(val))
	}
	if len(val) == 0 {
		return nil
	}
	_, err = ea.readAt(val, 0)
	return err
}

// inlineData returns the content of a file that is stored in its inode: 60
// bytes where the block map would be, the rest in an attribute.
func (in *Inode) inlineData() ([]byte, error) {
	out := append([]byte(nil), in.raw[0x28:0x28+60]...)
	if in.Size > 60 || in.Mode.IsDir() {
		x, err := in.ibodyXattrs()
		if err != nil {
			return nil, err
		}
		out = append(out, x["system.data"]...)
	}
	if in.Size > int64(len(out)) {
		return nil, corrupt("inode %d: inline content of %d bytes, its size says %d", in.Number, len(out), in.Size)
	}
	return out[:in.Size], nil
}
