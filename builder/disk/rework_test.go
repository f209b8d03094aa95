package disk

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// nobleDump is what sfdisk says of a disk with the partitions of Ubuntu's cloud images.
const nobleDump = `label: gpt
label-id: 7F3BCB4E-0C1C-4BB1-B4F0-1B9DA6D2F5C0
device: noble.raw
unit: sectors
first-lba: 34
last-lba: 7339998
sector-size: 512

noble.raw1 : start=     2099200, size=     5240799, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=0C1BAF84-0F9B-4F10-A9A8-8BDF5D5B36B0
noble.raw14 : start=        2048, size=        8192, type=21686148-6449-6E6F-744E-656564454649, uuid=4A0A4B2F-3B4E-4B2C-8F1B-1D1C1D1C1D1C
noble.raw15 : start=       10240, size=      217088, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=5B5C5D5E-1111-2222-3333-444455556666, attrs="RequiredPartition GUID:63"
noble.raw16 : start=      227328, size=     1869825, type=BC13C2FF-59E6-4262-A352-B275FD6F7172, uuid=99999999-1111-2222-3333-444455556666, name="boot"
`

func TestGrownScript(t *testing.T) {
	t.Parallel()
	got, err := grownScript(nobleDump, 2099200, 20000000)
	want := strings.Replace(strings.Replace(strings.Replace(nobleDump, "device: noble.raw\n", "", 1), "last-lba: 7339998\n", "", 1), "size=     5240799", "size=     20000000", 1)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, script (-want +got):\n%s", err, diff)
	}
	for dump, want := range map[string]string{
		strings.Replace(nobleDump, "label: gpt", "label: dos", 1):              "found a partition table of type dos, expected gpt",
		strings.Replace(nobleDump, "sector-size: 512", "sector-size: 4096", 1): "found sectors of 4096 bytes, expected 512",
		strings.Replace(nobleDump, "2099200", "2099201", 1):                    "found 0 partitions that start at sector 2099200",
	} {
		if _, err := grownScript(dump, 2099200, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, expected %s", err, want)
		}
	}
}

// superblock is one with the features of e2fsprogs 1.47, at 1 MiB.
func superblock(compat, incompat, roCompat uint32) []byte {
	disk := make([]byte, 1<<20+4096)
	super := disk[1<<20+superOffset:]
	le := binary.LittleEndian
	le.PutUint16(super[sbMagic:], 0xef53)
	le.PutUint16(super[sbInodeSize:], 256)
	le.PutUint32(super[sbLogBlock:], 2)
	le.PutUint32(super[sbCompat:], compat)
	le.PutUint32(super[sbIncompat:], incompat)
	le.PutUint32(super[sbROCompat:], roCompat)
	copy(super[sbLabel:], "cloudimg-rootfs\x00")
	copy(super[sbUUID:], "0123456789abcdef")
	return disk
}

func TestReadExt4ID(t *testing.T) {
	t.Parallel()
	got, err := readExt4ID(bytes.NewReader(superblock(0x103c, 0x22c2, 0x46b)), 1<<20)
	want := ext4ID{
		UUID: "30313233-3435-3637-3839-616263646566", Label: "cloudimg-rootfs",
		Features: []string{"has_journal", "ext_attr", "resize_inode", "dir_index", "orphan_file", "filetype", "extent", "64bit", "flex_bg", "metadata_csum_seed",
			"sparse_super", "large_file", "huge_file", "dir_nlink", "extra_isize", "metadata_csum"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, file system (-want +got):\n%s", err, diff)
	}
	small := superblock(0, 0, 0)
	binary.LittleEndian.PutUint32(small[1<<20+superOffset+sbLogBlock:], 0)
	for what, tt := range map[string]struct {
		disk []byte
		want string
	}{
		"inline_data": {superblock(0, 0x8000, 0), "incompatible features (0x8000)"},
		"quota":       {superblock(0, 0, 0x100), "read-only compatible features (0x100)"},
		"bigalloc":    {superblock(0, 0x40, 0x200), "read-only compatible features (0x200)"},
		"fast_commit": {superblock(0x400, 0, 0), "compatible features (0x400)"},
		"blocks":      {small, "its inodes have 256 bytes and its blocks 1024: expected 256 and 4096"},
		"XFS":         {make([]byte, 2<<20), "no ext4 file system is there"},
	} {
		if _, err := readExt4ID(bytes.NewReader(tt.disk), 1<<20); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, expected %s", what, err, tt.want)
		}
	}
}

func TestNewReworkRefuses(t *testing.T) {
	t.Parallel()
	disk := bytes.NewReader(superblock(0x3c, 0x2c2, 0x46b))
	last := Original{Disk: disk, Size: 100 << 20, Root: 1, Partitions: map[int]OldPartition{1: {1 << 20, 98 << 20}}}
	behind := last
	behind.Partitions = map[int]OldPartition{1: {1 << 20, 50 << 20}, 2: {60 << 20, 1 << 20}, 3: {70 << 20, 1 << 20}}
	for what, tt := range map[string]struct {
		o    Original
		size int64
		want string // "" for none
	}{
		"grows":                        {last, 200 << 20, ""},
		"as it is":                     {behind, 100 << 20, ""},
		"smaller":                      {last, 99 << 20, "disk size of 99 MiB: the cloud image has 100 MiB and is not made smaller"},
		"something behind the root":    {behind, 200 << 20, "the root, partition 1 of the cloud image, cannot grow from 50 MiB: partition 2 lies behind it: expected disk.size to be the image's own size, 100 MiB"},
		"no file system where it says": {Original{Disk: disk, Size: 100 << 20, Root: 1, Partitions: map[int]OldPartition{1: {0, 98 << 20}}}, 200 << 20, "no ext4 file system is there"},
	} {
		r, err := NewRework(tt.o, tt.size, someTime)
		switch {
		case tt.want == "" && (err != nil || r.Layout.Size != tt.size || r.Layout.RootLabel != "cloudimg-rootfs"):
			t.Errorf("%s: %v, layout %+v", what, err, r.Layout)
		case tt.want != "" && (exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %v, expected %s", what, err, tt.want)
		}
	}
	if r, _ := NewRework(last, 200<<20, someTime); r.Layout.Root.Offset() != 1<<20 || r.Layout.Root.Size() != 198<<20 {
		t.Errorf("the root is at %d and has %d bytes", r.Layout.Root.Offset(), r.Layout.Root.Size())
	}
}
