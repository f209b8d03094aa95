//go:build integration

package target

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// nobleScript has the partitions that Ubuntu's cloud images have since 24.04: the
// root is number 1 and lies last, /boot is number 16.
const nobleScript = `label: gpt
unit: sectors
1 : start=65536, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
14 : start=2048, size=8192, type=21686148-6449-6E6F-744E-656564454649
16 : start=16384, size=32768, type=BC13C2FF-59E6-4262-A352-B275FD6F7172, name="boot part"
`

// nobleDisk makes a disk of such partitions, whose root has the given fstab.
func nobleDisk(t *testing.T, fstab string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"root/etc/os-release": "ID=ubuntu\n", "root/etc/fstab": fstab, "root/boot/hidden": "below the mount point\n",
		"boot/vmlinuz-6.8": "kernel", "boot/grub/grub.cfg": "linux /vmlinuz-6.8\n",
	} {
		file := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, []byte(content), 0o644))
	}
	must(t, os.Symlink("vmlinuz-6.8", filepath.Join(dir, "boot/vmlinuz")))
	disk := filepath.Join(dir, "disk.raw")
	must(t, os.WriteFile(disk, nil, 0o644))
	must(t, os.Truncate(disk, 80<<20))
	sfdisk := exec.Command("sfdisk", "-q", disk)
	sfdisk.Stdin = strings.NewReader(nobleScript)
	out, err := sfdisk.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-L", "cloudimg-rootfs", "-E", fmt.Sprintf("offset=%d", 65536*512), "-d", dir+"/root", disk, "40M")
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-L", "BOOT", "-U", "0a1b2c3d-0000-4000-8000-00000000abcd",
		"-E", fmt.Sprintf("offset=%d", 16384*512), "-d", dir+"/boot", disk, "16M")
	return disk
}

func TestBootPartition(t *testing.T) {
	const root = "LABEL=cloudimg-rootfs\t/\text4\tdiscard\t0 1\n"
	for name, tt := range map[string]struct {
		fstab string
		boot  int
	}{
		"by label":       {root + "LABEL=BOOT\t/boot\text4\tdefaults\t0 2\n", 16},
		"by UUID":        {root + "UUID=0A1B2C3D-0000-4000-8000-00000000ABCD /boot/ ext4 defaults 0 2\n", 16},
		"by path":        {root + "/dev/disk/by-label/BOOT /boot ext4 defaults 0 2\n", 16},
		"by its name":    {root + "PARTLABEL=\"boot\" /boot ext4 defaults\n", 0},
		"commented out":  {root + "#LABEL=BOOT /boot ext4 defaults 0 2\n", 0},
		"of no disk":     {root + "LABEL=OTHER /boot ext4 defaults 0 2\n", 0},
		"the root again": {"LABEL=cloudimg-rootfs /boot ext4 defaults 0 2\n", 0},
		"no entry":       {root, 0},
	} {
		t.Run(name, func(t *testing.T) {
			tg := mustOpen(t, nobleDisk(t, tt.fstab))
			if tg.RootPartition() != 1 || tg.BootPartition() != tt.boot {
				t.Fatalf("root is partition %d and /boot %d, expected 1 and %d", tg.RootPartition(), tg.BootPartition(), tt.boot)
			}
			want := []string{"boot/hidden"}
			if tt.boot != 0 {
				want = []string{"boot/grub/grub.cfg", "boot/lost+found", "boot/vmlinuz", "boot/vmlinuz-6.8"}
			}
			var found []string
			must(t, Walk(t.Context(), tg.Root(), "boot", func(p string, d fs.DirEntry, err error) error {
				if err == nil && (!d.IsDir() || p == "boot/lost+found") {
					found = append(found, p)
				}
				return err
			}))
			if !slices.Equal(want, found) {
				t.Errorf("/boot has %q, expected %q", found, want)
			}
			if tt.boot == 0 {
				return
			}
			if text, err := tg.Root().ReadFile("boot/vmlinuz"); err != nil || string(text) != "kernel" {
				t.Errorf("/boot/vmlinuz is %q, %v", text, err)
			}
			if text, err := tg.Root().ReadFile("boot/../etc/os-release"); err == nil || text != nil {
				t.Errorf("a name that io/fs forbids was read: %q", text)
			}
		})
	}
}
