package disk

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var someTime = time.Date(2025, 11, 15, 10, 0, 1, 0, time.UTC)

func amd64Layout(t *testing.T, size int64) Layout {
	t.Helper()
	fw, err := FirmwareOf("amd64")
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLayout(fw, size, 64<<20, "nodeimage-root", "seed", someTime)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLayout(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{1 << 30, 8 << 30, 100 << 30, 4<<40 + 1<<20} {
		l := amd64Layout(t, size)
		end := int64(2048)
		seen := map[string]bool{l.GUID: true, l.RootUUID: true}
		for _, p := range l.Partitions() {
			if p.Start != end || p.Start%2048 != 0 || p.Sectors <= 0 {
				t.Errorf("size %d: partition %s starts at %d with %d sectors, want %d and a whole MiB", size, p.Name, p.Start, p.Sectors, end)
			}
			end = p.Start + p.Sectors
			if seen[p.UUID] {
				t.Errorf("size %d: identifier %s is used twice", size, p.UUID)
			}
			seen[p.UUID] = true
		}
		// The backup of the table takes the last 33 sectors.
		if last := size / SectorSize; end > last-33 || end < last-2*2048 {
			t.Errorf("size %d: the root ends at sector %d of %d", size, end, last)
		}
		if l.Root.Size()%blockSize != 0 {
			t.Errorf("size %d: the root has %d bytes, no whole blocks", size, l.Root.Size())
		}
	}
}

func TestLayoutFollowsTheSeed(t *testing.T) {
	t.Parallel()
	fw, _ := FirmwareOf("amd64")
	layout := func(seed string) Layout {
		l, err := NewLayout(fw, 8<<30, 64<<20, "root", seed, someTime)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if diff := cmp.Diff(layout("a"), layout("a")); diff != "" {
		t.Errorf("the same seed gave another disk:\n%s", diff)
	}
	a, b := layout("a"), layout("b")
	if a.GUID == b.GUID || a.RootUUID == b.RootUUID || a.ESPVolume == b.ESPVolume || a.Root.UUID == b.Root.UUID {
		t.Error("another seed gave the same identifiers")
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(a.RootUUID) {
		t.Errorf("%s is no version 5 UUID", a.RootUUID)
	}
}

func TestLayoutRefuses(t *testing.T) {
	t.Parallel()
	fw, _ := FirmwareOf("amd64")
	for name, tc := range map[string]struct {
		size, esp int64
		label     string
		want      string
	}{
		"no whole MiB":    {8<<30 + 512, 64 << 20, "root", "whole MiB"},
		"too small":       {512 << 20, 64 << 20, "root", "root file system"},
		"smaller than it": {32 << 20, 64 << 20, "root", "root file system"},
		"ESP too small":   {8 << 30, 32 << 20, "root", "EFI system partition"},
		"label too long":  {8 << 30, 64 << 20, strings.Repeat("x", 17), "label"},
		"label quoted":    {8 << 30, 64 << 20, `a"b`, "label"},
		"no label":        {8 << 30, 64 << 20, "", "label"},
	} {
		if _, err := NewLayout(fw, tc.size, tc.esp, tc.label, "seed", someTime); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error about %q", name, err, tc.want)
		}
	}
	if _, err := FirmwareOf("riscv64"); err == nil {
		t.Error("an unknown architecture was accepted")
	}
}

func TestSfdiskScript(t *testing.T) {
	t.Parallel()
	l := amd64Layout(t, 8<<30)
	want := "label: gpt\nlabel-id: " + strings.ToUpper(l.GUID) + "\nunit: sectors\nsector-size: 512\n\n" +
		"start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, uuid=" + strings.ToUpper(l.BIOS.UUID) + ", name=\"bios\"\n" +
		"start=4096, size=131072, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=" + strings.ToUpper(l.ESP.UUID) + ", name=\"esp\"\n" +
		"start=135168, size=16640000, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=" + strings.ToUpper(l.Root.UUID) + ", name=\"nodeimage-root\"\n"
	if diff := cmp.Diff(want, l.SfdiskScript()); diff != "" {
		t.Errorf("script (-want +got):\n%s", diff)
	}
	arm, err := FirmwareOf("arm64")
	if err != nil {
		t.Fatal(err)
	}
	al, err := NewLayout(arm, 8<<30, 64<<20, "root", "seed", someTime)
	if err != nil {
		t.Fatal(err)
	}
	if script := al.SfdiskScript(); strings.Contains(script, typeBIOSBoot) || !strings.Contains(script, typeRootAA64) {
		t.Errorf("arm64 has a BIOS partition or the wrong root type:\n%s", script)
	}
}

func TestArgv(t *testing.T) {
	t.Parallel()
	l := amd64Layout(t, 8<<30)
	l.RootUUID, l.ESPVolume = "11111111-2222-5333-8444-555555555555", 0x0badcafe
	got := append([][]string{
		sfdiskArgv("/s/d.raw"), mke2fsArgv("/s/d.raw", "/s/root", l), e2fsckArgv("/s/d.raw", l.Root.Offset()),
	}, espCommands("/s/esp.img", "/s/esp", []string{"EFI/BOOT/A.EFI", "EFI/BOOT/b.efi", "EFI/debian/grub.cfg"}, l)...)
	want := [][]string{
		{"sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "never", "/s/d.raw"},
		{
			"mke2fs", "-q", "-F", "-t", "ext4", "-m", "1", "-L", "nodeimage-root", "-U", "11111111-2222-5333-8444-555555555555",
			"-E", "offset=69206016,hash_seed=11111111-2222-5333-8444-555555555555,assume_storage_prezeroed=1,root_owner=0:0",
			"-d", "/s/root", "/s/d.raw", "2080000",
		},
		{"e2fsck", "-f", "-n", "/s/d.raw?offset=69206016"},
		{"mkfs.vfat", "--invariant", "-F", "32", "-s", "1", "-S", "512", "-i", "0badcafe", "-n", "ESP", "/s/esp.img"},
		{"mmd", "-i", "/s/esp.img", "::/EFI"},
		{"mmd", "-i", "/s/esp.img", "::/EFI/BOOT"},
		{"mcopy", "-i", "/s/esp.img", "/s/esp/EFI/BOOT/A.EFI", "::/EFI/BOOT/A.EFI"},
		{"mcopy", "-i", "/s/esp.img", "/s/esp/EFI/BOOT/b.efi", "::/EFI/BOOT/b.efi"},
		{"mmd", "-i", "/s/esp.img", "::/EFI/debian"},
		{"mcopy", "-i", "/s/esp.img", "/s/esp/EFI/debian/grub.cfg", "::/EFI/debian/grub.cfg"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("command lines (-want +got):\n%s", diff)
	}
	if got := l.ESPSerial(); got != "0BAD-CAFE" {
		t.Errorf("ESP serial %s", got)
	}
}
