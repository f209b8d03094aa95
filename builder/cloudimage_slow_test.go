//go:build integration && slow

package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/bootstrap"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/treediff"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/upstreamtest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// cloudScript has the partitions of Ubuntu's cloud images since 24.04.
const cloudScript = `label: gpt
label-id: 11111111-2222-4333-8444-555555555555
unit: sectors
1 : start=524288, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=AAAAAAAA-0000-4000-8000-000000000001
14 : start=2048, size=8192, type=21686148-6449-6E6F-744E-656564454649, uuid=AAAAAAAA-0000-4000-8000-00000000000E
15 : start=10240, size=81920, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=AAAAAAAA-0000-4000-8000-00000000000F
16 : start=92160, size=409600, type=BC13C2FF-59E6-4262-A352-B275FD6F7172, uuid=AAAAAAAA-0000-4000-8000-000000000010
`

const cloudName = "debian-13-cloud-20251117.qcow2"

// standInImage makes an image of the shape of a distribution's: a small Debian on
// a disk with partitions that are not ours, whose boot loader is noise. It is a
// stand-in: nothing is shown here about Debian's or Ubuntu's own.
func standInImage(t *testing.T) (qcow2, raw string) {
	t.Helper()
	dir := filepath.Join(warmCache(t), "stand-in")
	qcow2, raw = filepath.Join(dir, "disk.qcow2"), filepath.Join(dir, "disk.raw")
	if exists(qcow2) {
		return qcow2, raw // of an earlier test
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tars, err := filepath.Glob(filepath.Join(warmCache(t), "entries", "*", "data", "rootfs.tar"))
	if err != nil || len(tars) != 1 {
		t.Fatalf("bases: %q, %v", tars, err)
	}
	const make = `set -e
mkdir "$1/root" "$1/boot"
tar -xf "$2" -C "$1/root" --xattrs --xattrs-include='*' --numeric-owner -p
root=$1/root
printf 'LABEL=cloudimg-rootfs / ext4 discard,errors=remount-ro 0 1\nLABEL=BOOT /boot ext4 defaults 0 2\nLABEL=UEFI /boot/efi vfat umask=0077 0 1\n' >"$root/etc/fstab"
printf 'deb http://mirror.invalid/debian trixie main\n' >"$root/etc/apt/sources.list"
setcap cap_net_raw+ep "$root/usr/bin/true"
setfattr -n user.kept -v yes "$root/etc/hosts" 2>/dev/null || { echo 127.0.0.1 localhost >"$root/etc/hosts" && setfattr -n user.kept -v yes "$root/etc/hosts"; }
kernel=$(basename "$root"/boot/vmlinuz-*)
echo initramfs >"$root/boot/initrd.img-${kernel#vmlinuz-}"
mkdir -p "$root/boot/grub" "$root/boot/efi"
printf 'menuentry Debian {\n\tlinux\t/%s root=LABEL=cloudimg-rootfs ro quiet\n\tinitrd\t/initrd.img-%s\n}\n' "$kernel" "${kernel#vmlinuz-}" >"$root/boot/grub/grub.cfg"
mv "$root"/boot/* "$1/boot/"
truncate -s 1500M "$1/disk.raw"
head -c 440 /dev/urandom | dd of="$1/disk.raw" conv=notrunc status=none
sfdisk -q "$1/disk.raw"
head -c 4194304 /dev/urandom | dd of="$1/disk.raw" bs=512 seek=2048 conv=notrunc status=none
truncate -s 40M "$1/esp.img"
mkfs.vfat -F 32 -s 1 -n UEFI "$1/esp.img" >/dev/null
mmd -i "$1/esp.img" ::/EFI ::/EFI/BOOT
head -c 900000 /dev/urandom >"$1/shim"
mcopy -i "$1/esp.img" "$1/shim" ::/EFI/BOOT/BOOTX64.EFI
dd if="$1/esp.img" of="$1/disk.raw" bs=512 seek=10240 conv=notrunc status=none
mke2fs -q -F -t ext4 -L BOOT -b 4096 -E offset=$((92160*512)) -d "$1/boot" "$1/disk.raw" 200M
mke2fs -q -F -t ext4 -L cloudimg-rootfs -E offset=$((524288*512)) -d "$root" "$1/disk.raw" 1243M
rm -rf "$1/root" "$1/boot"
qemu-img convert -f raw -O qcow2 -c -o compression_type=zstd "$1/disk.raw" "$1/whole"
mv "$1/whole" "$1/disk.qcow2"`
	cmd := exec.Command("sh", "-c", make, "sh", dir, tars[0])
	cmd.Stdin = strings.NewReader(cloudScript)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return qcow2, raw
}

// onImage is the small profile on that image, with two packages that it lacks.
const onImage = small + `base:
  cloudImage:
    url: %s
    sha256: %s
    sums: {url: %s, keyring: %s}
`

// cloudWorkspace has a profile on the image, which a server on loopback has with
// its signed list.
func cloudWorkspace(t *testing.T, image string) (dir, signer string) {
	t.Helper()
	server := upstreamtest.New(t.TempDir())
	t.Cleanup(server.Close)
	const host = "images.example/trixie/20251117/"
	sum, ring, err := server.AddCloudImage("https://"+host+cloudName, image)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	keyFile := filepath.Join(dir, "images.gpg")
	at := server.URL + "/" + host
	text := fmt.Sprintf(strings.NewReplacer("admin: []", "admin: [hello, tree]", "[qcow2, raw]", "[qcow2]").Replace(onImage), keyring, debian, at+cloudName, sum, at+"SHA256SUMS", keyFile)
	write(t, dir, map[string]string{"small.yaml": text, "images.gpg": string(ring)})
	trusted, err := exec.Command("gpg", "--show-keys", "--with-colons", keyFile).Output()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(trusted), "\nfpr:::::::::")
	signer, _, _ = strings.Cut(rest, ":")
	return dir, signer
}

// rawOf is the disk that was built, as a raw one, which other tools look into.
func rawOf(t *testing.T, dir string) string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "small.raw")
	if out, err := exec.Command("qemu-img", "convert", "-O", "raw", filepath.Join(dir, "out", "small.qcow2"), raw).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return raw
}

func section(t *testing.T, path string, start, sectors int64) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, sectors*512)
	if _, err := f.ReadAt(b, start*512); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBuildOnACloudImage(t *testing.T) {
	image, original := standInImage(t)
	dir, signer := cloudWorkspace(t, image)
	var said bytes.Buffer
	if _, err := buildIn(t.Context(), dir, console.New(io.MultiWriter(&said, testWriter{t}))); err != nil {
		t.Fatal(err)
	}
	m := readManifest(t, dir)
	raw := rawOf(t, dir)
	data, _ := os.ReadFile(image)
	sum := sha256.Sum256(data)
	if m.Base == nil || m.Base.SHA256 != hex.EncodeToString(sum[:]) || m.Base.Signer != signer || !strings.HasSuffix(m.Base.URL, "/20251117/"+cloudName) {
		t.Errorf("the manifest says of the base: %+v, expected it to be signed by %s", m.Base, signer)
	}
	var added []string
	kept := 0
	for _, p := range m.Packages {
		switch {
		case p.Base && p.SHA256 == "":
			kept++
		case !p.Base && len(p.SHA256) == 64:
			added = append(added, p.Name)
		default:
			t.Errorf("package %+v is neither the image's nor the archive's", p)
		}
	}
	if diff := cmp.Diff([]string{"hello", "tree"}, added); diff != "" || kept < 50 {
		t.Errorf("%d packages of the image, and others (-want +got):\n%s", kept, diff)
	}

	// All that is not a file system with files is what it was.
	for name, at := range map[string][2]int64{"boot code": {0, 0}, "BIOS boot partition": {2048, 8192}, "EFI system partition": {10240, 81920}} {
		was, is := section(t, original, at[0], max(at[1], 1)), section(t, raw, at[0], max(at[1], 1))
		if at[1] == 0 {
			was, is = was[:440], is[:440]
		}
		if !bytes.Equal(was, is) {
			t.Errorf("the %s is another one", name)
		}
	}
	table := func(path string) string {
		out, err := exec.Command("sfdisk", "--dump", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(strings.ReplaceAll(string(out), path, "disk")) {
			if !strings.HasPrefix(line, "last-lba") {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "")
	}
	want := regexp.MustCompile(`(start= *524288, size=) *[0-9]+`).ReplaceAllString(table(original), fmt.Sprintf("${1}%12d", 4<<21-2048-524288))
	if diff := cmp.Diff(want, table(raw)); diff != "" {
		t.Errorf("partition table (-want +got):\n%s", diff)
	}
	if out, err := exec.Command("sfdisk", "--verify", raw).CombinedOutput(); err != nil || !strings.Contains(string(out), "No errors detected") {
		t.Errorf("%v: %s", err, out)
	}
	checkGrown(t, image, raw)
	assertNothingLeft(t, dir)

	// Again: nothing is fetched or unpacked, and the same bytes come out.
	said.Reset()
	if _, err := buildIn(t.Context(), dir, console.New(&said)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "unchanged, from the cache") {
		t.Error("the base was made again")
	}
	if diff := cmp.Diff(m, readManifest(t, dir)); diff != "" {
		t.Errorf("the same inputs gave other bytes (-first +second):\n%s", diff)
	}
	lockedOffline(t, dir, m)
}

// checkGrown compares the files of the image with those of the disk made of it.
func checkGrown(t *testing.T, image, raw string) {
	t.Helper()
	before, err := target.Open(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	after, err := target.Open(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	if after.RootPartition() != 1 || after.BootPartition() != 16 || after.DiskGUID() != before.DiskGUID() {
		t.Errorf("root %d, boot %d, disk %s", after.RootPartition(), after.BootPartition(), after.DiskGUID())
	}
	result, err := treediff.Trees(t.Context(), before.Root(), after.Root(), treediff.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// What apt and dpkg write, the packages themselves, and what the build is for.
	expected := []string{
		"/usr/bin/", "/usr/share/", "/var/lib/dpkg/", "/var/lib/apt/", "/var/log/", "/var/cache/", "/usr/lib/nodeimage", "/boot/grub/grub.cfg",
		"/etc/default/grub.d", "/etc/apt/sources.list", "/etc/ld.so.cache", "/usr/lib/x86_64-linux-gnu/", "/dev",
	}
	found := map[string]bool{}
	for _, c := range result.Changes {
		found[c.Path] = true
		if !slices.ContainsFunc(expected, func(prefix string) bool { return strings.HasPrefix(c.Path, prefix) }) {
			t.Errorf("%s changed, and should not have: %+v", c.Path, c)
		}
	}
	for _, name := range []string{"/usr/bin/hello", "/usr/bin/tree", "/boot/grub/grub.cfg", manifest.FragmentDir + "/test.json"} {
		if !found[name] {
			t.Errorf("%s is not there, or as it was", name)
		}
	}
	for _, name := range []string{"/usr/bin/true", "/etc/hosts", "/etc/fstab"} {
		if found[name] {
			t.Errorf("%s changed", name)
		}
	}
	if c, ok, err := target.FileCapabilities(after.Root(), "usr/bin/true"); err != nil || !ok || c.Permitted != 1<<13 {
		t.Errorf("capabilities of a file: %+v, %t, %v", c, ok, err)
	}
	if x, err := after.Root().Xattrs("etc/hosts"); err != nil || string(x["user.kept"]) != "yes" {
		t.Errorf("attributes of a file: %q, %v", x, err)
	}
	config, err := after.Root().ReadFile("boot/grub/grub.cfg")
	if err != nil || !strings.Contains(string(config), "root=LABEL=cloudimg-rootfs ro quiet console=tty0 console=ttyS0,115200n8\n") {
		t.Errorf("%v, GRUB's configuration:\n%s", err, config)
	}
	for _, name := range []string{"var/lib/nodeimage-apt", "usr/sbin/policy-rc.d", "etc/apt/sources.list"} {
		if _, err := after.Root().Lstat(name); err == nil {
			t.Errorf("/%s is in the image", name)
		}
	}
}

// lockedOffline builds once more from what the first build recorded, and from the
// store alone, which needs no archive and no server of images.
func lockedOffline(t *testing.T, dir string, m manifest.Manifest) {
	t.Helper()
	var b Builder
	if _, _, err := b.Prepare(map[string]any{
		"profile": filepath.Join(dir, "small.yaml"), "output_directory": filepath.Join(dir, "out"), "cache_directory": filepath.Join(dir, "cache"),
	}); err != nil {
		t.Fatal(err)
	}
	record := recordOf(t, dir)
	l := &lock.Lock{Content: lock.Content{
		Profile: lock.Profile{Name: "small", SHA256: b.config.profile.Hash(), Arch: "amd64"},
		Kernel:  record.Kernels[0], Base: record.Base, Releases: record.Releases, Packages: record.Packages,
		Components: []lock.Component{{Name: "test", Version: "1", Source: "file", Sum: "sha256:0", Files: []lock.File{{Name: "x", SHA256: strings.Repeat("0", 64), Size: 1}}}},
	}}
	for _, p := range record.Base.CloudImage.Packages {
		if p.Name == "linux-image-"+l.Kernel.Release {
			l.Kernel.Package = p.Name
		}
	}
	text, err := l.Encode()
	if err != nil {
		t.Fatalf("the lock cannot be written: %v", err)
	}
	if l, err = lock.Parse("x.lock.yaml", text); err != nil {
		t.Fatal(err)
	}
	build := func(change func(*lock.Lock)) error {
		content := l.Content
		content.Packages, content.Base.CloudImage.Packages = slices.Clone(content.Packages), slices.Clone(content.Base.CloudImage.Packages)
		changed := &lock.Lock{Content: content}
		change(changed)
		b.UseLock(changed, true)
		bd := &build{config: &b.config, ui: console.New(testWriter{t}), host: run.Host{}}
		_, err := bd.run(t.Context(), hook{}, bd.steps())
		return err
	}
	first := rawOf(t, dir)
	if err := build(func(*lock.Lock) {}); err != nil {
		t.Fatalf("a locked build, offline: %v", err)
	}
	if diff := cmp.Diff(m, readManifest(t, dir)); diff != "" {
		t.Errorf("the lock gave other bytes (-unlocked +locked):\n%s\nfiles: %s", diff, treeDifferences(t, first, rawOf(t, dir)))
	}
	err = build(func(l *lock.Lock) {
		l.Packages = slices.Clone(l.Packages[:1])
		l.Base.CloudImage.Packages[0].Version = "0"
	})
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(fmt.Sprint(err), "the lock does not give a system of exactly its packages") || !strings.Contains(fmt.Sprint(err), "expected 0 ") {
		t.Errorf("a lock that says otherwise of the image: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "cache", "blobs")); err != nil {
		t.Fatal(err)
	}
	err = build(func(*lock.Lock) {})
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(fmt.Sprint(err), "is not in the store and nothing is fetched offline") {
		t.Errorf("offline, without the image in the store: %v", err)
	}
}

// treeDifferences names the files in which two images differ.
func treeDifferences(t *testing.T, a, b string) string {
	t.Helper()
	one, err := target.Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	other, err := target.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	result, err := treediff.Trees(t.Context(), one.Root(), other.Root(), treediff.Options{Times: true})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, c := range result.Changes {
		lines = append(lines, fmt.Sprintf("%s %s %v", c.Path, c.Kind, c.Fields))
	}
	return strings.Join(lines, "\n")
}

// recordOf is that of the base on the image, of the two in the store.
func recordOf(t *testing.T, dir string) bootstrap.Record {
	t.Helper()
	var b Builder
	if _, _, err := b.Prepare(map[string]any{"profile": filepath.Join(dir, "small.yaml"), "output_directory": filepath.Join(dir, "out"), "cache_directory": filepath.Join(dir, "cache")}); err != nil {
		t.Fatal(err)
	}
	bd := &build{config: &b.config, ui: console.New(testWriter{t}), host: run.Host{}}
	steps := bd.steps()[:3]
	if _, err := bd.run(t.Context(), nil, steps); err == nil {
		t.Fatal("a build that ends early gave an image")
	}
	return bd.base.Record
}

// A provisioner that brings another boot loader or kernel is told so.
func TestWhatBootsIsKept(t *testing.T) {
	image, _ := standInImage(t)
	dir, _ := cloudWorkspace(t, image)
	h := hookFunc(func(comm packersdk.Communicator) error {
		return comm.Upload("/boot/vmlinuz-9.9", strings.NewReader("another kernel"), nil)
	})
	_, err := buildWith(t.Context(), dir, console.New(testWriter{t}), h, nil)
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(fmt.Sprint(err), "a provisioner changed what boots, and the cloud image's own is kept: /boot/vmlinuz-9.9 is new") {
		t.Errorf("got %v", err)
	}
	assertNothingLeft(t, dir)
}

type hookFunc func(packersdk.Communicator) error

func (f hookFunc) Run(_ context.Context, name string, _ packersdk.Ui, comm packersdk.Communicator, _ any) error {
	if name != packersdk.HookProvision {
		return nil
	}
	return f(comm)
}

// A disk that is smaller than the image, and what is on another system, are bad
// input.
func TestImagesThatDoNotFit(t *testing.T) {
	image, _ := standInImage(t)
	for name, tt := range map[string]struct{ old, new, want string }{
		"another release": {"name: small\n", "name: small\nos: {version: \"12\", codename: bookworm}\n", "the cloud image " + cloudName + " is not what the profile small is for: it is debian 13, expected debian 12"},
		"another kernel":  {"name: small\n", "name: small\nkernel: {package: linux-image-cloud-amd64}\n", "it has no package linux-image-cloud-amd64, and its kernel is kept: expected kernel.package to be one that it has (linux-image-6."},
		"another signer":  {"images.gpg}", "images.gpg, signer: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA}", "expected the key AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := cloudWorkspace(t, image)
			file := filepath.Join(dir, "small.yaml")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(text), tt.old) != 1 {
				t.Fatalf("%q is not in the profile", tt.old)
			}
			write(t, dir, map[string]string{"small.yaml": strings.Replace(string(text), tt.old, tt.new, 1)})
			_, err = buildIn(t.Context(), dir, console.New(testWriter{t}))
			if exitcode.Of(err) != exitcode.Usage || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("got %v, expected %s", err, tt.want)
			}
			assertNothingLeft(t, dir)
		})
	}
}
