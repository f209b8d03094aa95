package disk

import (
	"encoding/binary"
	"testing"
)

// bootImage looks like GRUB's boot.img where it matters.
func bootImage() []byte {
	img := make([]byte, SectorSize)
	for i := range img {
		img[i] = 0xcc
	}
	binary.LittleEndian.PutUint64(img[0x5c:], 1)
	img[0x66], img[0x67] = 0xeb, 0x05
	img[510], img[511] = 0x55, 0xaa
	return img
}

func TestPatchBoot(t *testing.T) {
	t.Parallel()
	in := bootImage()
	got, err := PatchBoot(in, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 440 {
		t.Errorf("got %d bytes: the disk signature and table begin at 440", len(got))
	}
	if sector := binary.LittleEndian.Uint64(got[0x5c:]); sector != 2048 {
		t.Errorf("core.img at sector %d, want 2048", sector)
	}
	if got[0x64] != 0xff || got[0x66] != 0x90 || got[0x67] != 0x90 {
		t.Errorf("boot drive %#x, drive check % x, want ff and 90 90", got[0x64], got[0x66:0x68])
	}
	for i, b := range got {
		changed := i >= 0x5c && i < 0x65 || i == 0x66 || i == 0x67
		if !changed && b != in[i] {
			t.Errorf("byte %#x changed from %#x to %#x", i, in[i], b)
		}
	}
}

func TestPatchBootRefuses(t *testing.T) {
	t.Parallel()
	noSignature, elsewhere := bootImage(), bootImage()
	noSignature[510] = 0
	elsewhere[0x5c] = 7
	for name, img := range map[string][]byte{
		"empty": nil, "short": bootImage()[:511], "no signature": noSignature, "sector elsewhere": elsewhere,
	} {
		if _, err := PatchBoot(img, 2048); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func coreImg(size int) []byte {
	img := make([]byte, size)
	for i := range img {
		img[i] = 0xaa
	}
	binary.LittleEndian.PutUint16(img[0x1fe:], 0x820)
	return img
}

func TestPatchCore(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		size    int
		sectors int
	}{
		"whole sectors":         {3 * SectorSize, 3},
		"a byte over":           {3*SectorSize + 1, 4},
		"fills its partition":   {2048 * SectorSize, 2048},
		"just more than sector": {SectorSize + 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := coreImg(tc.size)
			got, err := PatchCore(in, 2048, 2048)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != tc.sectors*SectorSize {
				t.Errorf("got %d bytes, want %d sectors", len(got), tc.sectors)
			}
			if start := binary.LittleEndian.Uint64(got[0x1f4:]); start != 2049 {
				t.Errorf("second sector at %d, want 2049", start)
			}
			if n := binary.LittleEndian.Uint16(got[0x1fc:]); int(n) != tc.sectors-1 {
				t.Errorf("block list of %d sectors, want %d", n, tc.sectors-1)
			}
			if segment := binary.LittleEndian.Uint16(got[0x1fe:]); segment != 0x820 {
				t.Errorf("segment %#x", segment)
			}
			for i := 0x1e8; i < 0x1f4; i++ {
				if got[i] != 0 {
					t.Errorf("byte %#x is %#x: the block list does not end", i, got[i])
				}
			}
			if string(got[SectorSize:tc.size]) != string(in[SectorSize:]) {
				t.Error("code after the first sector changed")
			}
		})
	}
}

func TestPatchCoreRefuses(t *testing.T) {
	t.Parallel()
	foreign := coreImg(2048)
	foreign[0x1ff] = 0
	for name, img := range map[string][]byte{
		"empty": nil, "one sector": coreImg(SectorSize), "not i386-pc": foreign, "too large": coreImg(2048*SectorSize + 1),
	} {
		if _, err := PatchCore(img, 2048, 2048); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
