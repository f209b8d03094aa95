package disk

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

func TestFormatsAreSorted(t *testing.T) {
	if !slices.IsSorted(Formats()) {
		t.Errorf("not sorted: %v", Formats())
	}
}

// Worked out by hand, one for each branch of the specification's calculation.
func TestVHDGeometry(t *testing.T) {
	for _, c := range []struct {
		size             int64
		cyl              uint16
		heads, perTracks uint8
	}{
		{4 << 20, 120, 4, 17},
		{1 << 30, 2080, 16, 63},
		{8 << 30, 16644, 16, 63},
		{127 << 30, 65278, 16, 255},
	} {
		cyl, heads, sectors := vhdGeometry(c.size / SectorSize)
		if cyl != c.cyl || heads != c.heads || sectors != c.perTracks {
			t.Errorf("%d bytes: got %d/%d/%d, want %d/%d/%d", c.size, cyl, heads, sectors, c.cyl, c.heads, c.perTracks)
		}
	}
}

func TestVHDFooter(t *testing.T) {
	f, err := vhdFooter(8<<30, "seed")
	if err != nil {
		t.Fatal(err)
	}
	var sum uint32
	for i, b := range f {
		if i < 64 || i >= 68 {
			sum += uint32(b)
		}
	}
	if got := binary.BigEndian.Uint32(f[64:]); got != ^sum {
		t.Errorf("checksum %08x, want %08x", got, ^sum)
	}
	other, err := vhdFooter(8<<30, "other seed")
	if err != nil {
		t.Fatal(err)
	}
	if slices.Equal(f[68:84], other[68:84]) {
		t.Error("two images share an identifier")
	}
	if _, err := vhdFooter(8<<30+512, "seed"); err == nil || !strings.Contains(err.Error(), "whole MiB") {
		t.Errorf("a size that Azure refuses: got %v", err)
	}
}
