package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

const (
	magic         = 0x514649fb // "QFI\xfb"
	headerV2      = 72
	headerV3      = 104
	minClusterLog = 9
	maxClusterLog = 21
	maxL1Bytes    = 32 << 20 // as in QEMU (QCOW_MAX_L1_SIZE)
	maxBackingLen = 1023

	extEnd     = 0
	extBacking = 0xe2792aca
	extNames   = 0x6803f857
	extRefuse  = 0x44415441 // "DATA": name of an external data file

	featDirty       = 1 << 0
	featCorrupt     = 1 << 1
	featExternal    = 1 << 2
	featCompression = 1 << 3
	featExtendedL2  = 1 << 4
)

// header is what the reader needs of an image's header.
type header struct {
	version       uint32
	clusterBits   uint32
	size          int64
	l1Size        uint32 // entries
	l1Offset      int64
	zstd          bool
	extendedL2    bool
	backing       string // name as stored, or ""
	backingFormat string // "", "raw", "qcow2", …
}

// Is reports whether b starts with the magic number of qcow2.
func Is(b []byte) bool { return len(b) >= 4 && binary.BigEndian.Uint32(b) == magic }

func readHeader(r io.ReaderAt, fileSize int64) (*header, error) {
	b := make([]byte, headerV3+8)
	n, err := r.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("qcow2: reading the header: %w", err)
	}
	be := binary.BigEndian
	if n < headerV2 || !Is(b) {
		return nil, corrupt("no header: want the magic number %#08x and at least %d bytes", magic, headerV2)
	}
	h := &header{
		version:     be.Uint32(b[4:]),
		clusterBits: be.Uint32(b[20:]),
		l1Size:      be.Uint32(b[36:]),
	}
	if h.version != 2 && h.version != 3 {
		return nil, corrupt("version %d, want 2 or 3", h.version)
	}
	if h.clusterBits < minClusterLog || h.clusterBits > maxClusterLog {
		return nil, corrupt("cluster size 2^%d, want 2^%d to 2^%d", h.clusterBits, minClusterLog, maxClusterLog)
	}
	if c := be.Uint32(b[32:]); c != 0 {
		return nil, corrupt("the image is encrypted (%s): decrypt it with qemu-img convert", cryptName(c))
	}
	size, l1 := be.Uint64(b[24:]), be.Uint64(b[40:])
	if size > 1<<62 {
		return nil, corrupt("virtual size of %d bytes", size)
	}
	h.size = int64(size)
	headerLen := uint32(headerV2)
	if h.version == 3 {
		if headerLen, err = h.readV3(r, b[:n]); err != nil {
			return nil, err
		}
	}
	if err := h.readExtensions(r, headerLen, fileSize); err != nil {
		return nil, err
	}
	if err := h.readBacking(r, be.Uint64(b[8:]), be.Uint32(b[16:])); err != nil {
		return nil, err
	}
	return h, h.checkL1(l1, fileSize)
}

func cryptName(method uint32) string {
	switch method {
	case 1:
		return "AES"
	case 2:
		return "LUKS"
	}
	return fmt.Sprintf("method %d", method)
}

// readV3 reads the fields that version 3 added and refuses features by name.
func (h *header) readV3(r io.ReaderAt, b []byte) (headerLen uint32, err error) {
	be := binary.BigEndian
	if len(b) < headerV3 {
		return 0, corrupt("truncated: a header of %d bytes, version 3 has at least %d", len(b), headerV3)
	}
	headerLen = be.Uint32(b[100:])
	if headerLen < headerV3 || headerLen > 1<<h.clusterBits || headerLen%8 != 0 {
		return 0, corrupt("header length %d, want a multiple of 8 from %d to the cluster size", headerLen, headerV3)
	}
	features := be.Uint64(b[72:])
	switch {
	case features&featDirty != 0:
		return 0, corrupt("the dirty bit is set: the image was not closed cleanly, or is in use; run qemu-img check -r all on a copy")
	case features&featCorrupt != 0:
		return 0, corrupt("the corrupt bit is set: run qemu-img check -r all on a copy")
	case features&featExternal != 0:
		return 0, corrupt("the data is in an external file (external data file): convert it with qemu-img convert -O qcow2")
	}
	const known = featDirty | featCorrupt | featExternal | featCompression | featExtendedL2
	if rest := features &^ known; rest != 0 {
		return 0, corrupt("unknown incompatible features: %s", featureNames(r, headerLen, rest))
	}
	h.extendedL2 = features&featExtendedL2 != 0
	if features&featCompression != 0 {
		if headerLen <= 104 || len(b) < 105 {
			return 0, corrupt("the compression type is missing from a header of %d bytes", headerLen)
		}
		switch b[104] {
		case 0:
		case 1:
			h.zstd = true
		default:
			return 0, corrupt("compression type %d, want 0 (zlib) or 1 (zstd)", b[104])
		}
	}
	return headerLen, nil
}

// featureNames spells out feature bits with the name table that an image may
// carry for readers that don't know them.
func featureNames(r io.ReaderAt, at uint32, bits uint64) string {
	names := map[int]string{}
	_ = eachExtension(r, int64(at), 1<<maxClusterLog, func(kind uint32, data []byte) error {
		for kind == extNames && len(data) >= 48 {
			if data[0] == 0 { // incompatible
				names[int(data[1])] = strings.TrimRight(string(data[2:48]), "\x00")
			}
			data = data[48:]
		}
		return nil
	})
	var out []string
	for i := range 64 {
		if bits&(1<<i) == 0 {
			continue
		}
		if n := names[i]; n != "" {
			out = append(out, fmt.Sprintf("%q (bit %d)", n, i))
		} else {
			out = append(out, fmt.Sprintf("bit %d", i))
		}
	}
	return strings.Join(out, ", ")
}

// eachExtension calls f for each header extension from byte at to byte end.
func eachExtension(r io.ReaderAt, at, end int64, f func(kind uint32, data []byte) error) error {
	for at+8 <= end {
		var b [8]byte
		if err := readFull(r, b[:], at, "header extension"); err != nil {
			return err
		}
		kind, n := binary.BigEndian.Uint32(b[:]), int64(binary.BigEndian.Uint32(b[4:]))
		if kind == extEnd {
			return nil
		}
		at += 8
		if n > end-at {
			return corrupt("header extension %#08x of %d bytes leaves the first cluster", kind, n)
		}
		data := make([]byte, n)
		if err := readFull(r, data, at, "header extension"); err != nil {
			return err
		}
		if err := f(kind, data); err != nil {
			return err
		}
		at += (n + 7) &^ 7
	}
	return nil
}

func (h *header) readExtensions(r io.ReaderAt, at uint32, fileSize int64) error {
	end := min(int64(1)<<h.clusterBits, fileSize)
	return eachExtension(r, int64(at), end, func(kind uint32, data []byte) error {
		switch kind {
		case extBacking:
			h.backingFormat = string(data)
		case extRefuse:
			return corrupt("the data is in the external file %q: convert it with qemu-img convert -O qcow2", data)
		}
		return nil
	})
}

func (h *header) readBacking(r io.ReaderAt, off uint64, n uint32) error {
	if off == 0 || n == 0 {
		return nil
	}
	if n > maxBackingLen || off > 1<<h.clusterBits || off+uint64(n) > 1<<h.clusterBits {
		return corrupt("name of the backing file at byte %d with %d bytes, want it in the first cluster and at most %d bytes long", off, n, maxBackingLen)
	}
	b := make([]byte, n)
	if err := readFull(r, b, int64(off), "name of the backing file"); err != nil {
		return err
	}
	h.backing = string(b)
	return nil
}

func (h *header) checkL1(off uint64, fileSize int64) error {
	entryLog := uint32(3)
	if h.extendedL2 {
		entryLog = 4
		if h.clusterBits < 14 {
			return corrupt("extended L2 entries with clusters of %d bytes, want at least 16 KiB", 1<<h.clusterBits)
		}
	}
	perL2 := h.clusterBits + h.clusterBits - entryLog // log2 of the bytes one L1 entry covers
	need := uint64(0)
	if h.size > 0 {
		need = (uint64(h.size)-1)>>perL2 + 1
	}
	switch {
	case uint64(h.l1Size) < need:
		return corrupt("L1 table of %d entries, a virtual size of %d bytes needs %d", h.l1Size, h.size, need)
	case uint64(h.l1Size)*8 > maxL1Bytes:
		return corrupt("L1 table of %d entries, want at most %d", h.l1Size, maxL1Bytes/8)
	case h.l1Size > 0 && (off == 0 || off%(1<<h.clusterBits) != 0):
		return corrupt("L1 table at byte %d, want a multiple of the cluster size %d", off, 1<<h.clusterBits)
	case off > uint64(fileSize) || uint64(h.l1Size)*8 > uint64(fileSize)-off:
		return corrupt("truncated: L1 table of %d entries at byte %d of a file of %d bytes; copy or download the image again", h.l1Size, off, fileSize)
	}
	h.l1Offset = int64(off)
	return nil
}

func readFull(r io.ReaderAt, p []byte, off int64, what string) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return corrupt("truncated: %s at byte %d is missing; copy or download the image again", what, off)
	}
	return fmt.Errorf("qcow2: reading %s at byte %d: %w", what, off, err)
}

func corrupt(format string, args ...any) error {
	return exitcode.BadInput(fmt.Errorf("qcow2: "+format, args...))
}
