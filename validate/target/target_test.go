package target

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target/internal/gpt"
)

func TestOpenTellsWhatItIs(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		path string
		kind Kind
		root int
	}{
		"qcow2":       {"testdata/disk.qcow2", Qcow2, 2},
		"overlay":     {"testdata/overlay.qcow2", Qcow2, 2},
		"raw disk":    {save(t, gunzip(t, "disk.raw")), Raw, 2},
		"file system": {save(t, gunzip(t, "ext4.img")), Raw, 0},
		"directory":   {t.TempDir(), Directory, 0},
		"tar":         {save(t, writeTar(t)), Tar, 0},
	} {
		tg := mustOpen(t, tt.path)
		if tg.Kind() != tt.kind || tg.RootPartition() != tt.root || tg.Path() != tt.path {
			t.Errorf("%s: kind %q, root in partition %d, path %s; want %q, %d, %s", name, tg.Kind(), tg.RootPartition(), tg.Path(), tt.kind, tt.root, tt.path)
		}
		esp, err := tg.ESP()
		if tt.root == 0 {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: ESP of what is no disk: %v, want fs.ErrNotExist", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if b, err := esp.ReadFile("efi/boot/bootx64.efi"); err != nil || string(b) != "MZ" {
			t.Errorf("%s: the boot loader in the ESP: %q, %v", name, b, err)
		}
	}
	want := []Partition{
		{Number: 1, Type: gpt.TypeESP, GUID: "33333333-4444-5555-6666-777777777777", Name: "ESP", Start: 64 * 512, Length: 512 * 512},
		{Number: 2, Type: gpt.TypeRootX8664, GUID: "44444444-5555-6666-7777-888888888888", Name: "root", Start: 1024 * 512, Length: 2048 * 512},
	}
	if d := cmp.Diff(want, mustOpen(t, "testdata/disk.qcow2").Partitions()); d != "" {
		t.Errorf("partitions (-want +got):\n%s", d)
	}
}

func wantBad(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || exitcode.Of(err) != exitcode.Usage {
		t.Errorf("got error %v with exit code %d, want one that says %q with 2", err, exitcode.Of(err), want)
	}
}

func openErr(t testing.TB, path string) error {
	t.Helper()
	tg, err := Open(context.Background(), path)
	if err == nil {
		t.Error(tg.Close())
	}
	return err
}

func TestOpenRefusesByName(t *testing.T) {
	t.Parallel()
	disk := gunzip(t, "disk.raw")
	at := func(n int, magic string) []byte {
		b := make([]byte, 80<<10)
		copy(b[n:], magic)
		return b
	}
	retyped := func(types ...string) []byte {
		b := bytes.Clone(disk)
		for i, typ := range types {
			setType(b, i, typ)
		}
		return b
	}
	tests := map[string]struct {
		content []byte
		want    string
	}{
		"empty":    {nil, "is empty"},
		"noise":    {bytes.Repeat([]byte("noise "), 1000), "nothing that this reads"},
		"one byte": {[]byte("x"), "nothing that this reads"},
		"VMDK":     {at(0, "KDMV"), "VMDK"},
		"VHDX":     {at(0, "vhdxfile"), "VHDX"},
		"xz":       {at(0, "\xfd7zXZ\x00"), "xz -d"},
		"LUKS":     {at(0, "LUKS\xba\xbe"), "encrypted (LUKS)"},
		"XFS":      {at(0, "XFSB"), "XFS"},
		"btrfs":    {at(65600, "_BHRfS_M"), "btrfs"},
		"ISO":      {at(32769, "CD001"), "ISO 9660"},
		"MBR":      {at(510, "\x55\xaa"), "no GUID partition table"},
		"no root":  {retyped(gpt.TypeESP, gpt.TypeBIOSBoot), "no root partition among 2"},
		"XFS root": {func() []byte { b := bytes.Clone(disk); copy(b[1024*512:], at(0, "XFSB")[:4096]); return b }(), "partition 2: is an XFS"},
		"LVM": {func() []byte {
			b := retyped(gpt.TypeESP, "e6d6d379-f507-44c2-a23c-238f2a3df928")
			clear(b[1024*512 : 1028*512])
			copy(b[1025*512:], "LABELONE")
			return b
		}(), "no root partition among 2: partition 2 is an LVM physical volume"},
		"two candidates": {retyped(gpt.TypeLinux, gpt.TypeLinux), "0 of the 2 partitions"},
		"damaged table":  {func() []byte { b := bytes.Clone(disk); b[512+56]++; return b }(), "header's checksum"},
		"truncated":      {disk[:len(disk)/2], "truncated"},
		"truncated fs":   {gunzip(t, "ext4.img")[:300<<10], "truncated"},
		"not gzip":       {[]byte("\x1f\x8bnonsense and more of it"), "gzip"},
		"not zstd":       {[]byte("\x28\xb5\x2f\xfdnonsense"), "decompressing the tar"},
		"truncated tar":  {writeTar(t)[:1600], "tar: truncated"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantBad(t, openErr(t, save(t, tt.content)), tt.want)
		})
	}
}

// setType gives partition i another type and makes the checksums right.
func setType(b []byte, i int, typ string) {
	le := binary.LittleEndian
	var d1 uint32
	var d2, d3, d4 uint16
	var d5 uint64
	if _, err := fmt.Sscanf(typ, "%08x-%04x-%04x-%04x-%012x", &d1, &d2, &d3, &d4, &d5); err != nil {
		panic(err)
	}
	h := b[512:]
	array := b[le.Uint64(h[72:])*512:][:le.Uint32(h[80:])*le.Uint32(h[84:])]
	e := array[i*int(le.Uint32(h[84:])):]
	le.PutUint32(e, d1)
	le.PutUint16(e[4:], d2)
	le.PutUint16(e[6:], d3)
	binary.BigEndian.PutUint64(e[8:], uint64(d4)<<48|d5)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(array))
	le.PutUint32(h[16:], 0)
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
}

func TestRootPartitionIsChosenByType(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{gpt.TypeRootARM64, gpt.TypeLinux} {
		b := gunzip(t, "disk.raw")
		setType(b, 1, typ)
		tg := mustOpen(t, save(t, b))
		if got, err := tg.Root().ReadFile("etc/hostname"); err != nil || string(got) != "node\n" || tg.RootPartition() != 2 {
			t.Errorf("%s: %q, %v, partition %d", typ, got, err, tg.RootPartition())
		}
	}
}

func TestBrokenESPDoesNotHideTheRoot(t *testing.T) {
	t.Parallel()
	b := gunzip(t, "disk.raw")
	clear(b[64*512 : 65*512])
	tg := mustOpen(t, save(t, b))
	if _, err := tg.Root().ReadFile("etc/hostname"); err != nil {
		t.Error(err)
	}
	_, err := tg.ESP()
	wantBad(t, err, "partition 1")
}

func TestPathsOfTheHost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wantBad(t, openErr(t, filepath.Join(dir, "none")), "no such file")
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	wantBad(t, openErr(t, pipe), "is a named pipe") // and does not wait for a writer
	wantBad(t, openErr(t, "/dev/null"), "is a character device")
}

func TestBackingFilesStayInTheFolder(t *testing.T) {
	t.Parallel()
	overlay, err := os.ReadFile("testdata/overlay.qcow2")
	if err != nil {
		t.Fatal(err)
	}
	base, err := os.ReadFile("testdata/disk.qcow2")
	if err != nil {
		t.Fatal(err)
	}
	nameAt := binary.BigEndian.Uint64(overlay[8:])
	named := func(name string) []byte {
		b := bytes.Clone(overlay)
		copy(b[nameAt:], name)
		binary.BigEndian.PutUint32(b[16:], uint32(len(name)))
		return b
	}
	outside := t.TempDir()
	folder := filepath.Join(outside, "images")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(p string, b []byte) string {
		t.Helper()
		p = filepath.Join(folder, p)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	put("disk.qcow2", base)
	put("../outside.qcow2", base)
	if err := os.Symlink("../outside.qcow2", filepath.Join(folder, "link.qcow2")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(folder, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"disk.qcow2", "./disk.qcow2", "file:disk.qcow2", filepath.Join(folder, "disk.qcow2")} {
		mustOpen(t, put("good", named(name)))
	}
	for name, want := range map[string]string{
		"../outside.qcow2":         "not in the image's folder",
		outside + "/outside.qcow2": "not in the image's folder",
		"/etc/shadow":              "not in the image's folder",
		"nbd:localhost:10809":      "not in the image's folder",
		"json:{}":                  "not in the image's folder",
		"..":                       "not in the image's folder",
		"link.qcow2":               "escapes",
		"pipe":                     "named pipe",
		"missing":                  "no such file",
		"bad":                      "loop of them", // the image itself
	} {
		wantBad(t, openErr(t, put("bad", named(name))), want)
	}
}
