package qcow2

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// spec describes an image that write makes, byte by byte from the format's
// description, so that the reader is not tested against itself.
type spec struct {
	version  uint32
	bits     uint32 // cluster bits
	compress string // "", "zlib", "zstd"
	extended bool
}

var be = binary.BigEndian

// write stores the non-zero clusters of data. In version 3, clusters of zeros
// whose number is odd are marked as zeros; others stay unallocated.
func (s spec) write(t testing.TB, data []byte) []byte {
	t.Helper()
	cluster := 1 << s.bits
	entry := 8
	if s.extended {
		entry = 16
	}
	perL2 := cluster / entry
	clusters := (len(data) + cluster - 1) / cluster
	l2s := (clusters + perL2 - 1) / perL2
	out := make([]byte, cluster*(2+l2s)) // header, L1, L2 tables
	be.PutUint32(out, magic)
	be.PutUint32(out[4:], s.version)
	be.PutUint32(out[20:], s.bits)
	be.PutUint64(out[24:], uint64(len(data)))
	be.PutUint32(out[36:], uint32(l2s))
	be.PutUint64(out[40:], uint64(cluster))
	if s.version == 3 {
		be.PutUint32(out[96:], 4)
		be.PutUint32(out[100:], 112)
		var features uint64
		if s.compress == "zstd" {
			features |= featCompression
			out[104] = 1
		}
		if s.extended {
			features |= featExtendedL2
		}
		be.PutUint64(out[72:], features)
	}
	for i := range l2s {
		be.PutUint64(out[cluster+8*i:], uint64(cluster*(2+i))|copiedFlag)
	}
	for i := range clusters {
		c := make([]byte, cluster)
		copy(c, data[i*cluster:])
		at := cluster*(2+i/perL2) + i%perL2*entry
		if bytes.Equal(c, make([]byte, cluster)) {
			if s.version == 3 && i%2 == 1 {
				if s.extended {
					be.PutUint64(out[at+8:], 0xffffffff<<32)
				} else {
					be.PutUint64(out[at:], zeroFlag)
				}
			}
			continue
		}
		var packed []byte
		switch s.compress {
		case "zlib":
			packed = deflated(t, c)
		case "zstd":
			packed = zstded(t, c)
		}
		var e, bitmap uint64
		if packed != nil && len(packed) < cluster {
			x := 62 - (s.bits - 8)
			sectors := (len(out)+len(packed)-1)/512 - len(out)/512
			e = uint64(len(out)) | uint64(sectors)<<x | compressedFlag
			out = append(out, packed...)
		} else {
			for len(out)%cluster != 0 {
				out = append(out, 0)
			}
			e, bitmap = uint64(len(out))|copiedFlag, 0xffffffff
			out = append(out, c...)
		}
		be.PutUint64(out[at:], e)
		if s.extended {
			be.PutUint64(out[at+8:], bitmap)
		}
	}
	return out
}

func deflated(t testing.TB, c []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	_, werr := w.Write(c)
	if err := errors.Join(werr, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstded(t testing.TB, c []byte) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	return e.EncodeAll(c, nil)
}

// pattern is data of n bytes with compressible, incompressible and empty
// stretches of up to four clusters.
func pattern(n, cluster int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	out := make([]byte, 0, n)
	for len(out) < n {
		stretch := min(n-len(out), 1+r.IntN(4*cluster))
		part := make([]byte, stretch)
		switch r.IntN(3) {
		case 0:
			for i := range part {
				part[i] = byte(i / 16)
			}
		case 1:
			for i := range part {
				part[i] = byte(r.Uint32())
			}
		}
		out = append(out, part...)
	}
	return out
}

func mustOpen(t testing.TB, b []byte) *Image {
	t.Helper()
	m, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestReadsWhatWasWritten(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]spec{
		"v2":               {2, 9, "", false},
		"v2 zlib":          {2, 12, "zlib", false},
		"v3":               {3, 16, "", false},
		"v3 zlib":          {3, 9, "zlib", false},
		"v3 zstd":          {3, 16, "zstd", false},
		"v3 zstd, 2 MiB":   {3, 21, "zstd", false},
		"v3 extended":      {3, 14, "", true},
		"v3 extended zstd": {3, 16, "zstd", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := pattern(min(20, 1<<23>>s.bits)<<s.bits+777, 1<<s.bits)
			b := s.write(t, want)
			m := mustOpen(t, b)
			if m.Size() != int64(len(want)) {
				t.Fatalf("size %d, want %d", m.Size(), len(want))
			}
			if err := m.Verify(1 << 30); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("the content differs (%v)", err)
			}
			r := rand.New(rand.NewPCG(2, 3))
			for range 200 {
				off := r.IntN(len(want))
				p := make([]byte, r.IntN(3<<s.bits))
				n, err := m.ReadAt(p, int64(off))
				if end := min(len(want), off+len(p)); n != end-off || !bytes.Equal(p[:n], want[off:end]) || (err == nil) != (n == len(p)) {
					t.Fatalf("%d bytes at %d: got %d (%v) or wrong ones", len(p), off, n, err)
				}
			}
			if used := m.clusters.Used() + m.tables.Used(); used > clusterCacheBytes+tableCacheBytes {
				t.Errorf("%d bytes are cached", used)
			}
		})
	}
}

func TestSubclustersComeFromThreePlaces(t *testing.T) {
	t.Parallel()
	s := spec{3, 14, "", true}
	data := bytes.Repeat([]byte{7}, 1<<14)
	b := s.write(t, data)
	// Of 32 subclusters of 512 bytes: 0 to 7 data, 8 to 15 zeros, the rest in
	// the backing file, which ends in the middle of it.
	be.PutUint64(b[2<<14+8:], 0xff|0xff00<<32)
	m := mustOpen(t, b)
	m.SetBacking(bytes.NewReader(bytes.Repeat([]byte{9}, 10000)), 10000)
	want := bytes.Join([][]byte{
		bytes.Repeat([]byte{7}, 4096), make([]byte, 4096), bytes.Repeat([]byte{9}, 10000-8192), make([]byte, 1<<14-10000),
	}, nil)
	got := make([]byte, 1<<14)
	if _, err := m.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("wrong bytes (%v)", err)
	}
}

func TestUnallocatedClustersComeFromTheBackingFile(t *testing.T) {
	t.Parallel()
	s := spec{3, 12, "", false}
	data := make([]byte, 8<<12)
	copy(data, "overlay")
	m := mustOpen(t, s.write(t, data))
	back := bytes.Repeat([]byte{5}, 5<<12+10)
	m.SetBacking(bytes.NewReader(back), int64(len(back)))
	want := make([]byte, len(data))
	copy(want, back)
	copy(want, data[:1<<12])
	for i := 1; i < 8; i += 2 { // write marks these as zeros
		clear(want[i<<12 : (i+1)<<12])
	}
	got := make([]byte, len(want))
	if _, err := m.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("wrong bytes (%v)", err)
	}
}

func wantBad(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || exitcode.Of(err) != exitcode.Usage {
		t.Errorf("got error %v with exit code %d, want one that says %q with 2", err, exitcode.Of(err), want)
	}
}

func TestHostileImages(t *testing.T) {
	t.Parallel()
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { be.PutUint32(b[at:], v); return b }
	}
	put64 := func(at int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { be.PutUint64(b[at:], v); return b }
	}
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	const c = 1 << 16
	tests := map[string]struct {
		spec   spec
		change func([]byte) []byte
		want   string
	}{
		"no header":          {spec{3, 16, "", false}, cut(60), "no header"},
		"other magic":        {spec{3, 16, "", false}, put32(0, 1), "no header"},
		"version 4":          {spec{3, 16, "", false}, put32(4, 4), "version 4"},
		"cluster of 2^40":    {spec{3, 16, "", false}, put32(20, 40), "cluster size 2^40"},
		"AES":                {spec{3, 16, "", false}, put32(32, 1), "encrypted (AES)"},
		"LUKS":               {spec{3, 16, "", false}, put32(32, 2), "encrypted (LUKS)"},
		"dirty":              {spec{3, 16, "", false}, put64(72, 1), "dirty bit"},
		"corrupt":            {spec{3, 16, "", false}, put64(72, 2), "corrupt bit"},
		"external data":      {spec{3, 16, "", false}, put64(72, 4), "external data file"},
		"external data file": {spec{3, 16, "", false}, func(b []byte) []byte { return extend(b, extRefuse, "data.raw") }, `external file "data.raw"`},
		"unknown feature":    {spec{3, 16, "", false}, put64(72, 1<<40), "unknown incompatible features: bit 40"},
		"unknown named feature": {spec{3, 16, "", false}, func(b []byte) []byte {
			be.PutUint64(b[72:], 1<<9)
			return extend(b, extNames, nameRow(0, 9, "time travel"))
		}, `"time travel" (bit 9)`},
		"unknown compression":   {spec{3, 16, "zstd", false}, func(b []byte) []byte { b[104] = 7; return b }, "compression type 7"},
		"header too short":      {spec{3, 16, "", false}, put32(100, 80), "header length 80"},
		"header too long":       {spec{3, 16, "", false}, put32(100, 1<<20), "header length 1048576"},
		"extension too long":    {spec{3, 16, "", false}, func(b []byte) []byte { b = extend(b, 5, ""); be.PutUint32(b[116:], 1<<30); return b }, "leaves the first cluster"},
		"backing name outside":  {spec{3, 16, "", false}, func(b []byte) []byte { be.PutUint64(b[8:], 1<<40); be.PutUint32(b[16:], 10); return b }, "name of the backing file"},
		"backing name too long": {spec{3, 16, "", false}, func(b []byte) []byte { be.PutUint64(b[8:], 200); be.PutUint32(b[16:], 5000); return b }, "name of the backing file"},
		"virtual size too big":  {spec{3, 16, "", false}, put64(24, 1<<63), "virtual size"},
		"L1 too short":          {spec{3, 16, "", false}, put64(24, 1<<50), "L1 table of 1 entries"},
		"L1 huge":               {spec{3, 16, "", false}, put32(36, 1<<31), "L1 table of 2147483648 entries, want at most"},
		"L1 outside":            {spec{3, 16, "", false}, put64(40, 1<<40), "truncated: L1 table"},
		"L1 not aligned":        {spec{3, 16, "", false}, put64(40, 100), "multiple of the cluster size"},
		"L2 outside":            {spec{3, 16, "", false}, put64(c, 1<<40), "L1 entry 0 points to byte"},
		"L2 not aligned":        {spec{3, 16, "", false}, put64(c, 512), "whole clusters"},
		"L2 reserved bits":      {spec{3, 16, "", false}, put64(c, 2*c|1<<60), "reserved bits"},
		"data outside":          {spec{3, 16, "", false}, put64(2*c, 1<<40), "data cluster at byte 1099511627776"},
		"data not aligned":      {spec{3, 16, "", false}, put64(2*c, 3*c+512), "want a multiple"},
		"data reserved bits":    {spec{3, 16, "", false}, put64(2*c, 3*c|2), "reserved bits"},
		"truncated":             {spec{3, 16, "", false}, cut(3 * c), "truncated or damaged"},
		"truncated zstd":        {spec{3, 16, "zstd", false}, cut(3*c + 20), "truncated or damaged"},
		"not zlib":              {spec{2, 16, "zlib", false}, func(b []byte) []byte { copy(b[3*c:], "\xff\xff\xff\xff"); return b }, "compressed cluster of up to"},
		"not zstd":              {spec{3, 16, "zstd", false}, func(b []byte) []byte { copy(b[3*c:], "none"); return b }, "compressed cluster of up to"},
		"extended, too small":   {spec{3, 14, "", true}, put32(20, 12), "at least 16 KiB"},
		"subcluster twice":      {spec{3, 14, "", true}, put64(2<<14+8, 1|1<<32), "both as data and as zeros"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Two clusters of data at the start, the second incompressible.
			data := append(bytes.Repeat([]byte("data"), 1<<tt.spec.bits/4), pattern(3<<tt.spec.bits, 1<<tt.spec.bits)...)
			good := tt.spec.write(t, data)
			if err := readEverything(good); err != nil {
				t.Fatalf("before the change: %v", err)
			}
			wantBad(t, readEverything(tt.change(good)), tt.want)
		})
	}
}

// extend puts a header extension behind the header of version 3.
func extend(b []byte, kind uint32, data string) []byte {
	at := b[112:]
	be.PutUint32(at, kind)
	be.PutUint32(at[4:], uint32(len(data)))
	copy(at[8:], data)
	return b
}

func nameRow(kind, bit byte, name string) string {
	return string([]byte{kind, bit}) + name + strings.Repeat("\x00", 46-len(name))
}

func readEverything(b []byte) error {
	m, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	if err := m.Verify(1 << 20); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.NewSectionReader(m, 0, min(m.Size(), 16<<20)))
	return err
}
