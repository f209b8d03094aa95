package disk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted/rootedtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run/runtest"
)

func TestGrubConfig(t *testing.T) {
	t.Parallel()
	pc, _ := FirmwareOf("amd64")
	got := GrubConfig(pc, "debian's", "UUID", "/vmlinuz", "/initrd.img", []string{"console=tty0", "console=ttyS0,115200n8"})
	for _, want := range []string{
		"menuentry 'debians' {", "set timeout=1\nif serial --unit=0 --speed=115200; then\n",
		"search --no-floppy --fs-uuid --set=root UUID\n",
		"\tlinux /vmlinuz root=UUID=UUID ro console=tty0 console=ttyS0,115200n8\n",
		"\tinitrd /initrd.img\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("grub.cfg lacks %q:\n%s", want, got)
		}
	}
}

// The firmware of arm64 has its console on the port already.
func TestGrubDrivesNoSerialPortWithoutBIOS(t *testing.T) {
	t.Parallel()
	arm, _ := FirmwareOf("arm64")
	for name, got := range map[string]string{
		"grub.cfg":     GrubConfig(arm, "title", "UUID", "/vmlinuz", "/initrd.img", []string{"console=ttyAMA0,115200n8"}),
		"etc/defaults": grubDefaults(arm, []string{"console=ttyAMA0,115200n8"}),
	} {
		if strings.Contains(got, "serial") || !strings.Contains(got, "console=ttyAMA0,115200n8") {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

func TestKernelLinks(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		files          map[string]string
		kernel, initrd string
		want           string
	}{
		"debian": {
			files: map[string]string{
				"boot/vmlinuz-6.12": "k", "boot/initrd.img-6.12": "i",
				"vmlinuz": "-> boot/vmlinuz-6.12", "initrd.img": "-> boot/initrd.img-6.12",
			},
			kernel: "/vmlinuz", initrd: "/initrd.img",
		},
		"ubuntu": {
			files: map[string]string{
				"boot/vmlinuz-6.8": "k", "boot/initrd.img-6.8": "i",
				"boot/vmlinuz": "-> vmlinuz-6.8", "boot/initrd.img": "-> initrd.img-6.8",
			},
			kernel: "/boot/vmlinuz", initrd: "/boot/initrd.img",
		},
		"no kernel":      {files: map[string]string{"etc/fstab": ""}, want: "no kernel"},
		"dangling":       {files: map[string]string{"vmlinuz": "-> boot/vmlinuz-6.12"}, want: "leads to no file"},
		"no initrd":      {files: map[string]string{"vmlinuz": "k"}, want: "/initrd.img"},
		"empty initrd":   {files: map[string]string{"vmlinuz": "k", "initrd.img": ""}, want: "is empty"},
		"outside initrd": {files: map[string]string{"vmlinuz": "k", "initrd.img": "-> /etc/hostname"}, want: "leads to no file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kernel, initrd, err := kernelLinks(rootedtest.Dir(t, tc.files))
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Fatalf("got %v, want an error about %q", err, tc.want)
				}
				return
			}
			if err != nil || kernel != tc.kernel || initrd != tc.initrd {
				t.Errorf("got %s, %s, %v", kernel, initrd, err)
			}
		})
	}
}

func TestWriteBootFiles(t *testing.T) {
	t.Parallel()
	root := rootedtest.Dir(t, map[string]string{
		"vmlinuz": "k", "initrd.img": "i", "usr/sbin/update-grub": "#!",
		"usr/lib/grub/i386-pc/boot.img": "boot", "usr/lib/grub/i386-pc/ext2.mod": "m",
		"usr/lib/grub/i386-pc/moddep.lst": "l", "usr/lib/grub/i386-pc/lzma_decompress.img": "x",
	})
	chroot := runtest.New(t)
	argv := coreArgv("/boot/grub/i386-pc/load.cfg")
	chroot.Expect(argv...).Does(func(context.Context, run.Cmd) error {
		return root.WriteFile(coreImage, []byte("core"), 0o644)
	})
	fw, _ := FirmwareOf("amd64")
	l := amd64Layout(t, 8<<30)
	if err := WriteBootFiles(t.Context(), root, chroot, fw, l, "title", []string{"quiet"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{
		"grub-mkimage", "--format=i386-pc", "--directory=/usr/lib/grub/i386-pc", "--prefix=/boot/grub",
		"--config=/boot/grub/i386-pc/load.cfg", "--output=/boot/grub/i386-pc/core.img",
	}, argv[:6]); diff != "" {
		t.Errorf("grub-mkimage (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"/boot/grub/i386-pc/load.cfg":            "search.fs_uuid " + l.RootUUID + " root\nset prefix=($root)'/boot/grub'\n",
		"/boot/grub/i386-pc/boot.img":            "boot",
		"/boot/grub/i386-pc/ext2.mod":            "m",
		"/boot/grub/i386-pc/moddep.lst":          "l",
		"/etc/default/grub.d/50-nodeimage.cfg":   grubDefaults(fw, []string{"quiet"}),
		"/boot/grub/grub.cfg":                    GrubConfig(fw, "title", l.RootUUID, "/vmlinuz", "/initrd.img", []string{"quiet"}),
		"/boot/grub/i386-pc/lzma_decompress.img": "",
	} {
		got, err := root.ReadFile(name)
		if want == "" {
			if err == nil {
				t.Errorf("%s was copied and is of no use there", name)
			}
			continue
		}
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
}

func TestWriteBootFilesNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	fw, _ := FirmwareOf("amd64")
	l := amd64Layout(t, 8<<30)
	root := rootedtest.Dir(t, map[string]string{"vmlinuz": "k", "initrd.img": "i"})
	if err := WriteBootFiles(t.Context(), root, runtest.New(t), fw, l, "t", nil); err == nil || !strings.Contains(err.Error(), "grub-pc-bin") {
		t.Errorf("got %v, want the package grub-pc-bin named", err)
	}
	for _, bad := range []string{"a b", "", `x"y`, "a;reboot", "$(id)"} {
		if err := WriteBootFiles(t.Context(), root, runtest.New(t), fw, l, "t", []string{bad}); err == nil {
			t.Errorf("argument %q was accepted", bad)
		}
	}
}

func TestFSTab(t *testing.T) {
	t.Parallel()
	root := rootedtest.Dir(t, nil)
	l := amd64Layout(t, 8<<30)
	l.RootUUID, l.ESPVolume = "the-root", 0x12345678
	if err := WriteFSTab(root, l); err != nil {
		t.Fatal(err)
	}
	got, err := root.ReadFile("/etc/fstab")
	want := "# <file system> <mount point> <type> <options> <dump> <pass>\n" +
		"UUID=the-root / ext4 defaults,errors=remount-ro,x-systemd.growfs 0 1\n" +
		"UUID=1234-5678 /boot/efi vfat umask=0077,nofail 0 2\n"
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestESPNamesEveryMissingPackage(t *testing.T) {
	t.Parallel()
	fw, _ := FirmwareOf("amd64")
	_, err := makeESP(t.Context(), runtest.New(t), rootedtest.Dir(t, nil), fw, "debian", amd64Layout(t, 8<<30), t.TempDir())
	for _, want := range []string{"shim-signed", "grub-efi-amd64-signed"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s named", err, want)
		}
	}
}

func TestESPTree(t *testing.T) {
	t.Parallel()
	fw, _ := FirmwareOf("amd64")
	l := amd64Layout(t, 8<<30)
	scratch := t.TempDir()
	root := rootedtest.Dir(t, map[string]string{
		// Ubuntu's alternatives link.
		"usr/lib/shim/shimx64.efi.signed":                        "-> /etc/alternatives/shimx64.efi.signed",
		"etc/alternatives/shimx64.efi.signed":                    "-> /usr/lib/shim/shimx64.efi.signed.latest",
		"usr/lib/shim/shimx64.efi.signed.latest":                 "shim",
		"usr/lib/shim/mmx64.efi":                                 "mm",
		"usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed":      "grub",
		"usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed":       "not this",
		"usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed":   "nor this",
		"usr/lib/shim/fbx64.efi.signed":                          "would write boot entries",
		"usr/lib/grub/x86_64-efi-signed/version":                 "1",
		"usr/share/doc/shim-signed/copyright":                    "c",
		"usr/lib/grub/x86_64-efi-signed/dbx/should-not-be-there": "x",
	})
	host := runtest.New(t)
	for _, argv := range espCommands(filepath.Join(scratch, "esp.img"), filepath.Join(scratch, "esp"),
		[]string{"EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi", "EFI/BOOT/mmx64.efi", "EFI/ubuntu/grub.cfg"}, l) {
		host.Expect(argv...)
	}
	if _, err := makeESP(t.Context(), host, root, fw, "ubuntu", l, scratch); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	base := filepath.Join(scratch, "esp")
	err := filepath.WalkDir(base, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		got[strings.TrimPrefix(path, base+"/")] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"EFI/BOOT/BOOTX64.EFI": "shim", "EFI/BOOT/grubx64.efi": "grub", "EFI/BOOT/mmx64.efi": "mm",
		"EFI/ubuntu/grub.cfg": "search.fs_uuid " + l.RootUUID + " root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("EFI system partition (-want +got):\n%s", diff)
	}
}

func TestCopySparse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	data := make([]byte, 300<<10)
	copy(data[200<<10:], "in the middle")
	data[len(data)-1] = 7
	if err := os.WriteFile(src, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := sparse(dst, 1<<20); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(dst, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(copySparse(f, 4096, src), f.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(dst)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 1<<20)
	copy(want[4096:], data)
	if !cmp.Equal(want, got) {
		t.Error("the copy differs")
	}
	if err := sparse(dst, 1); err == nil {
		t.Error("an existing file was overwritten")
	}
}

func TestRootThatDoesNotFitIsBadInput(t *testing.T) {
	t.Parallel()
	l := amd64Layout(t, 1<<30)
	host := runtest.New(t)
	host.Expect(mke2fsArgv("/d.raw", "/root", l)...).Fails(1, "mke2fs: Could not allocate block in ext2 filesystem while populating file system")
	err := makeRoot(t.Context(), host, "/d.raw", "/root", t.TempDir(), l)
	if err == nil || !strings.Contains(err.Error(), "disk.size") {
		t.Errorf("got %v, want what to raise", err)
	}
}

func TestUncleanRootIsRefused(t *testing.T) {
	t.Parallel()
	l := amd64Layout(t, 1<<30)
	host := runtest.New(t)
	host.Expect(e2fsckArgv("/d.raw", l.Root.Offset())...).Fails(4, "Free blocks count wrong")
	if err := checkFS(t.Context(), host, "/d.raw", l.Root.Offset()); err == nil || !strings.Contains(err.Error(), "Free blocks") {
		t.Errorf("got %v, want e2fsck's finding", err)
	}
}
