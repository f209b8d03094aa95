//go:build integration && slow

package ubuntutest

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/builder"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/upstreamtest"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// cloudStandIn is what a profile on [cloudImage] says in standIns.
const cloudStandIn = "Ubuntu's cloud image (Debian's packages on a disk of its shape)"

// cloudDisk has the partitions of Ubuntu's cloud images since 24.04: the root
// last on the disk, a /boot of its own, no label that is ours.
const cloudDisk = `label: gpt
label-id: 11111111-2222-4333-8444-555555555555
unit: sectors
1 : start=2097152, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=AAAAAAAA-0000-4000-8000-000000000001
14 : start=2048, size=8192, type=21686148-6449-6E6F-744E-656564454649, uuid=AAAAAAAA-0000-4000-8000-00000000000E
15 : start=10240, size=217088, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=AAAAAAAA-0000-4000-8000-00000000000F
16 : start=227328, size=1869824, type=BC13C2FF-59E6-4262-A352-B275FD6F7172, uuid=AAAAAAAA-0000-4000-8000-000000000010
`

// makeCloudDisk makes $1/disk.qcow2 of the tree $1/root.
const makeCloudDisk = `set -e
cd "$1"
boot=bbbbbbbb-0000-4000-8000-000000000010
printf 'LABEL=cloudimg-rootfs / ext4 discard,errors=remount-ro 0 1\nLABEL=BOOT /boot ext4 defaults 0 2\nLABEL=UEFI /boot/efi vfat umask=0077 0 1\n' >root/etc/fstab
kernel=$(basename root/boot/vmlinuz-*)
version=${kernel#vmlinuz-}
mkdir -p root/boot/grub root/boot/efi
printf 'set timeout=0\nmenuentry Ubuntu {\n\tlinux\t/%s root=LABEL=cloudimg-rootfs ro\n\tinitrd\t/initrd.img-%s\n}\n' "$kernel" "$version" >root/boot/grub/grub.cfg
mkdir boot
mv root/boot/* boot/
truncate -s 3G disk.raw
sfdisk -q disk.raw
truncate -s 106M esp.img
mkfs.vfat -F 32 -s 1 -n UEFI esp.img >/dev/null
mmd -i esp.img ::/EFI ::/EFI/BOOT ::/EFI/debian
mcopy -i esp.img root/usr/lib/shim/shimx64.efi.signed ::/EFI/BOOT/BOOTX64.EFI
mcopy -i esp.img root/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed ::/EFI/BOOT/grubx64.efi
printf "search.fs_uuid %s root\nset prefix=(\$root)'/grub'\nconfigfile \$prefix/grub.cfg\n" $boot >grub.cfg
mcopy -i esp.img grub.cfg ::/EFI/debian/grub.cfg
dd if=esp.img of=disk.raw bs=1M seek=5 conv=notrunc,sparse status=none
mke2fs -q -F -t ext4 -L BOOT -U $boot -b 4096 -E offset=$((227328*512)) -d boot disk.raw 913M
mke2fs -q -F -t ext4 -L cloudimg-rootfs -E offset=$((2097152*512)) -d root disk.raw 2046M
rm -rf root boot
qemu-img convert -f raw -O qcow2 disk.raw disk.qcow2
`

// cloudImage is a stand-in for Ubuntu's cloud image on a server: it boots by
// Debian's shim, GRUB and kernel.
type cloudImage struct{ raw, url, sha256, keyring string }

// newCloudImage makes one of the archive's packages, without what only a
// container runtime needs, at an address of Ubuntu's on the server.
func newCloudImage(t *testing.T, a *Archive, server *upstreamtest.Server) cloudImage {
	t.Helper()
	dir := t.TempDir()
	profile := writeProfile(t, a.Profile("plain", "ubuntu-24.04", "standIns: [\""+StandIn+"\"]\npackages: {include: {container: []}}\ndisk: {formats: [raw]}\n"))
	var b builder.Builder
	cache := filepath.Join(dir, "cache")
	_, _, err := b.Prepare(map[string]any{"profile": profile, "output_directory": dir, "cache_directory": cache})
	must(t, err)
	if _, err := b.Run(t.Context(), console.New(testWriter{t}), noProvisioner{}); err != nil {
		t.Fatal(err)
	}
	tars, err := filepath.Glob(filepath.Join(cache, "entries", "*", "data", "rootfs.tar"))
	must(t, err)
	if len(tars) != 1 {
		t.Fatalf("bases: %q", tars)
	}
	root := filepath.Join(dir, "root")
	must(t, os.Mkdir(root, 0o755))
	command(t, nil, "tar", "-xf", tars[0], "-C", root, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-p")
	built, err := target.Open(t.Context(), filepath.Join(dir, "plain.raw"))
	must(t, err)
	entries, err := built.Root().ReadDir("boot")
	must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "initrd.img-") {
			data, err := built.Root().ReadFileMax("boot/"+e.Name(), 256<<20)
			must(t, err)
			must(t, os.WriteFile(filepath.Join(root, "boot", e.Name()), data, 0o600))
		}
	}
	must(t, built.Close())
	command(t, strings.NewReader(cloudDisk), "sh", "-c", makeCloudDisk, "sh", dir)

	const address = "https://cloud-images.ubuntu.com/releases/noble/release-20261101/ubuntu-24.04-server-cloudimg-amd64.img"
	sum, ring, err := server.AddCloudImage(address, filepath.Join(dir, "disk.qcow2"))
	must(t, err)
	c := cloudImage{raw: filepath.Join(dir, "disk.raw"), url: address, sha256: sum, keyring: filepath.Join(dir, "images.gpg")}
	must(t, os.WriteFile(c.keyring, ring, 0o644))
	return c
}

// base is what a profile says of it.
func (c cloudImage) base() map[string]any {
	return map[string]any{"cloudImage": map[string]any{"url": c.url, "sha256": c.sha256, "sums": map[string]any{"url": strings.TrimSuffix(c.url, path.Base(c.url)) + "SHA256SUMS", "keyring": c.keyring}}}
}

// assertKept makes sure that an image made of it has its disk, its partitions
// and, byte for byte, its EFI system partition.
func (c cloudImage) assertKept(t *testing.T, image string) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	command(t, nil, "qemu-img", "convert", "-O", "raw", image, raw)
	table := func(disk string) string {
		var kept []string
		for line := range strings.Lines(strings.ReplaceAll(command(t, nil, "sfdisk", "--dump", disk), disk, "disk")) {
			// The root, which is partition 1, has grown, and with it the disk.
			if !strings.HasPrefix(line, "last-lba") && !strings.HasPrefix(line, "disk1 ") {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	}
	if was, is := table(c.raw), table(raw); was != is {
		t.Errorf("the partitions are\n%s\nand were\n%s", is, was)
	}
	esp := func(disk string) []byte {
		f, err := os.Open(disk)
		must(t, err)
		defer f.Close()
		data := make([]byte, 106<<20)
		_, err = f.ReadAt(data, 5<<20)
		must(t, err)
		return data
	}
	if !bytes.Equal(esp(c.raw), esp(raw)) {
		t.Error("the EFI system partition is another one")
	}
}

func command(t *testing.T, stdin io.Reader, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", argv[0], err, out)
	}
	return string(out)
}
