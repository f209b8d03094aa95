package gpt

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

var le = binary.LittleEndian

const (
	sectors = 64 // of the disk that the tests make
	entries = 8
)

// disk makes a disk of 64 sectors with a table of 8 entries in sector 2.
func disk(sector int, parts ...Partition) []byte {
	b := make([]byte, sectors*sector)
	b[510], b[511] = 0x55, 0xaa
	b[446+4] = 0xee
	le.PutUint32(b[446+8:], 1)
	h := b[sector:]
	copy(h, "EFI PART")
	le.PutUint32(h[8:], 0x00010000)
	le.PutUint32(h[12:], 92)
	le.PutUint64(h[24:], 1)
	le.PutUint64(h[32:], sectors-1)
	le.PutUint64(h[40:], 8)
	le.PutUint64(h[48:], sectors-8)
	copy(h[56:], rawGUID("00112233-4455-6677-8899-aabbccddeeff"))
	le.PutUint64(h[72:], 2)
	le.PutUint32(h[80:], entries)
	le.PutUint32(h[84:], 128)
	for _, p := range parts {
		e := b[2*sector+128*(p.Number-1):]
		copy(e, rawGUID(p.Type))
		copy(e[16:], rawGUID(p.GUID))
		le.PutUint64(e[32:], uint64(p.Start)/uint64(sector))
		le.PutUint64(e[40:], uint64(p.Start+p.Length)/uint64(sector)-1)
		for i, c := range utf16.Encode([]rune(p.Name)) {
			le.PutUint16(e[56+2*i:], c)
		}
	}
	resum(b, sector)
	return b
}

// resum makes both checksums right.
func resum(b []byte, sector int) {
	h := b[sector:]
	at, n := le.Uint64(h[72:])*uint64(sector), uint64(le.Uint32(h[80:]))*uint64(le.Uint32(h[84:]))
	if at < uint64(len(b)) && n <= uint64(len(b))-at {
		le.PutUint32(h[88:], crc32.ChecksumIEEE(b[at:at+n]))
	}
	if n := int(le.Uint32(h[12:])); n >= 20 && n <= len(h) {
		le.PutUint32(h[16:], 0)
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:n]))
	}
}

func rawGUID(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil {
		panic(err)
	}
	for _, r := range [][2]int{{0, 3}, {4, 5}, {6, 7}} {
		for i, j := r[0], r[1]; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
	}
	return b
}

func parts(sector int64) []Partition {
	return []Partition{
		{Number: 1, Type: TypeESP, GUID: "11111111-2222-3333-4444-555555555555", Name: "ESP", Start: 8 * sector, Length: 2 * sector},
		{Number: 5, Type: TypeRootX8664, GUID: "66666666-7777-8888-9999-000000000000", Name: "root ☃", Start: 10 * sector, Length: 40 * sector},
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	for _, sector := range []int{512, 4096} {
		b := disk(sector, parts(int64(sector))...)
		got, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		want := &Table{GUID: "00112233-4455-6677-8899-aabbccddeeff", SectorSize: sector, Partitions: parts(int64(sector))}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("sectors of %d bytes (-want +got):\n%s", sector, d)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	const h, e = 512, 1024
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { le.PutUint32(b[at:], v); resum(b, 512); return b }
	}
	put64 := func(at int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { le.PutUint64(b[at:], v); resum(b, 512); return b }
	}
	plain := func(f func([]byte)) func([]byte) []byte { return func(b []byte) []byte { f(b); return b } }
	tests := map[string]struct {
		change func([]byte) []byte
		want   string
	}{
		"nothing":                      {func([]byte) []byte { return nil }, "truncated"},
		"no signature":                 {plain(func(b []byte) { b[h] = 0 }), "EFI PART"},
		"no MBR":                       {plain(func(b []byte) { b[511] = 0 }), "no protective MBR"},
		"MBR of another type":          {plain(func(b []byte) { b[446+4] = 0x83 }), "no partition of type 0xee"},
		"MBR that starts late":         {plain(func(b []byte) { b[446+8] = 9 }), "starts in sector 9"},
		"header checksum":              {plain(func(b []byte) { b[h+56]++ }), "header's checksum"},
		"entries checksum":             {plain(func(b []byte) { b[e]++ }), "entries' checksum"},
		"revision":                     {put32(h+8, 2), "revision"},
		"header of 5 bytes":            {put32(h+12, 5), "header of 5 bytes"},
		"header of 1 GiB":              {put32(h+12, 1<<30), "header of 1073741824 bytes"},
		"header elsewhere":             {put64(h+24, 9), "says that it is in sector 9"},
		"truncated disk":               {func(b []byte) []byte { return b[:63*512] }, "truncated: the backup table is in sector 63"},
		"entries of 100 bytes":         {put32(h+84, 100), "entries of 100 bytes"},
		"2^31 entries":                 {put32(h+80, 1<<31), "2147483648 entries"},
		"entries in sector 0":          {put64(h+72, 0), "start in sector 0"},
		"entries past the end":         {put64(h+72, 1<<60), "start in sector"},
		"usable past the end":          {put64(h+48, 1<<60), "usable sectors"},
		"partition outside the usable": {put64(e+32, 3), "partition 1 has sectors 3 to 9"},
		"partition backwards":          {put64(e+40, 8-1), "partition 1 has sectors 8 to 7"},
		"partition past 2^63":          {put64(e+4*128+40, 1<<63), "partition 5"},
		"overlap":                      {put64(e+40, 12), "partitions 1 and 5 overlap"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := tt.change(disk(512, parts(512)...))
			_, err := Read(bytes.NewReader(b), int64(len(b)))
			if err == nil || !strings.Contains(err.Error(), tt.want) || exitcode.Of(err) != exitcode.Usage {
				t.Errorf("got error %v with exit code %d, want one that says %q with 2", err, exitcode.Of(err), tt.want)
			}
		})
	}
}

// FuzzGPT reads disks as given, and again with the checksums made right, which
// anybody who makes a hostile disk does. Zeros fill the disk up to its size.
func FuzzGPT(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte, size byte) {
		b = append(bytes.Clone(b), make([]byte, max(0, int(size)*512-len(b)))...)
		try := func(b []byte) {
			table, err := Read(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				if exitcode.Of(err) != exitcode.Usage {
					t.Fatalf("exit code %d, want 2: %v", exitcode.Of(err), err)
				}
				return
			}
			for _, p := range table.Partitions {
				if p.Start < 0 || p.Length <= 0 || p.Start+p.Length > int64(len(b)) {
					t.Fatalf("partition %+v leaves a disk of %d bytes", p, len(b))
				}
			}
		}
		try(b)
		if sector, ok := Is(b); ok && len(b) >= sector+92 {
			b = bytes.Clone(b)
			resum(b, sector)
			try(b)
		}
	})
}
