//go:build integration

package cloudimage

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// These tests need root, e2fsprogs, fdisk, qemu-utils, acl, attr and libcap2-bin.

// The root of a disk of these partitions is number 1, and lies behind all others.
const script = `label: gpt
unit: sectors
1 : start=65536, type=%s
15 : start=2048, size=8192, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
16 : start=16384, size=40960, type=BC13C2FF-59E6-4262-A352-B275FD6F7172
`

const (
	linux = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
	lvm   = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
)

func command(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// system is a tree with all that an image's files can be.
func system(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"etc/os-release": "ID=debian\n", "etc/fstab": "LABEL=root / ext4 defaults 0 1\nLABEL=BOOT /boot ext4 defaults 0 2\n",
		"usr/bin/ping": "ping", "usr/bin/sudo": "sudo", "var/log/journal/x": "", "dev/console": "no device", "boot/vmlinuz-6.8": "kernel", "boot/grub/grub.cfg": "linux /vmlinuz-6.8\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, argv := range [][]string{
		{"setcap", "cap_net_raw+ep", at("usr/bin/ping")},
		{"chmod", "4711", at("usr/bin/sudo")},
		{"chown", "1234:100000", at("var/log/journal/x")},
		{"setfacl", "-m", "u:1000:r,d:g:50:rx", at("var/log/journal")},
		{"setfattr", "-n", "user.test", "-v", "kept", at("var/log/journal/x")},
		{"ln", at("usr/bin/ping"), at("usr/bin/ping6")},
		{"ln", at("boot/vmlinuz-6.8"), at("boot/same")},
		{"ln", "-s", "vmlinuz-6.8", at("boot/vmlinuz")},
		{"mkfifo", at("etc/pipe")},
		{"touch", "-d", "2001-02-03T04:05:06Z", at("etc/fstab")},
	} {
		command(t, "", argv[0], argv[1:]...)
	}
	return dir
}

// disk makes a disk of the tree whose root has the given partition type.
func disk(t *testing.T, tree, rootType string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	command(t, "", "truncate", "-s", "96M", path)
	command(t, fmt.Sprintf(script, rootType), "sfdisk", "-q", path)
	boot := filepath.Join(t.TempDir(), "boot")
	command(t, "", "cp", "-a", filepath.Join(tree, "boot"), boot)
	empty := filepath.Join(t.TempDir(), "root")
	command(t, "", "cp", "-a", tree, empty)
	command(t, "", "sh", "-c", `rm -r "$1"/boot/* && echo hidden >"$1/boot/hidden"`, "sh", empty)
	command(t, "", "mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-E", fmt.Sprintf("offset=%d", 65536*512), "-d", empty, path, "60M")
	command(t, "", "mke2fs", "-q", "-F", "-t", "ext4", "-L", "BOOT", "-E", fmt.Sprintf("offset=%d", 16384*512), "-d", boot, path, "20M")
	return path
}

// listing is what can be said of a tree's files.
func listing(t *testing.T, tree string) string {
	t.Helper()
	const facts = `cd "$1" && find . -mindepth 1 -path ./dev/console -prune -o ! -type d -printf '%p %y %m %U:%G %s %n %l\n' -o -printf '%p %y %m %U:%G\n' | sort
find . -path ./dev/console -prune -o -print | sort | xargs -d '\n' getfattr -h -d -m -
find . -type f ! -path ./dev/console | sort | xargs -d '\n' sha256sum; stat -c %Y etc/fstab; [ usr/bin/ping -ef usr/bin/ping6 ] && [ boot/same -ef boot/vmlinuz-6.8 ]; echo $?`
	return command(t, "", "sh", "-c", facts, "sh", tree)
}

// What comes out of an image, whatever it is stored as, is what is in it.
func TestTheSystemComesOutWhole(t *testing.T) {
	tree := system(t)
	raw := disk(t, tree, linux)
	want := listing(t, tree)
	if !strings.Contains(want, "security.capability") || !strings.Contains(want, "system.posix_acl_default") || !strings.HasSuffix(want, "\n0\n") {
		t.Fatalf("the tree lacks what is to be kept:\n%s", want)
	}
	for _, format := range []string{"raw", "qcow2", "vpc", "vpc fixed"} {
		t.Run(format, func(t *testing.T) {
			path := raw
			if format != "raw" {
				path = filepath.Join(t.TempDir(), "image")
				args := []string{"convert", "-f", "raw", "-O", strings.Fields(format)[0]}
				if format == "vpc fixed" {
					args = append(args, "-o", "subformat=fixed,force_size")
				}
				command(t, "", "qemu-img", append(args, raw, path)...)
			}
			image, err := Open(t.Context(), run.Host{}, path, t.TempDir(), "image")
			if err != nil {
				t.Fatal(err)
			}
			defer image.Close()
			if image.RootPartition() != 1 || image.BootPartition() != 16 {
				t.Errorf("root is partition %d and /boot %d", image.RootPartition(), image.BootPartition())
			}
			file := filepath.Join(t.TempDir(), "x.tar")
			out, err := os.Create(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := WriteTar(t.Context(), out, image); err != nil {
				t.Fatal(err)
			}
			out.Close()
			unpacked := t.TempDir()
			command(t, "", "tar", "--extract", "--file="+file, "--directory="+unpacked, "--numeric-owner", "--same-owner", "--preserve-permissions", "--xattrs", "--xattrs-include=*", "--delay-directory-restore")
			if diff := cmp.Diff(want, listing(t, unpacked)); diff != "" {
				t.Errorf("files (-in the image +out of it):\n%s", diff)
			}
			if entries, err := os.ReadDir(filepath.Join(unpacked, "dev")); err != nil || len(entries) != 0 {
				t.Errorf("/dev has %v, %v", entries, err)
			}
		})
	}
}

func TestImagesThatAreRefused(t *testing.T) {
	tree := system(t)
	whole := disk(t, tree, linux)
	edited := func(base string, change func(t *testing.T, path string)) func(t *testing.T) string {
		return func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "image")
			command(t, "", "cp", base, path)
			change(t, path)
			return path
		}
	}
	put := func(at int64, text string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte(text), at); err != nil {
				t.Fatal(err)
			}
		}
	}
	zeros := strings.Repeat("\x00", 128<<10)
	const root = 65536 * 512
	for name, tt := range map[string]struct {
		image func(t *testing.T) string
		want  string
	}{
		"LVM": {edited(disk(t, tree, lvm), func(t *testing.T, path string) {
			put(root, zeros)(t, path)
			put(root+512, "LABELONE")(t, path)
		}), "partition 1 is an LVM physical volume"},
		"btrfs": {edited(whole, func(t *testing.T, path string) {
			put(root, zeros)(t, path)
			put(root+65600, "_BHRfS_M")(t, path)
		}), "partition 1: is a btrfs file system"},
		"XFS":       {edited(whole, put(root, "XFSB"+zeros)), "partition 1: is an XFS file system"},
		"truncated": {edited(whole, func(t *testing.T, path string) { command(t, "", "truncate", "-s", "40M", path) }), "truncated: the backup table is in sector"},
		"truncated qcow2": {func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "image")
			command(t, "", "qemu-img", "convert", "-O", "qcow2", whole, path)
			command(t, "", "truncate", "-s", "300K", path)
			return path
		}, "truncated"},
		"backing file": {func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "image")
			command(t, "", "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", whole, path)
			return path
		}, "found a qcow2 with a backing file"},
		"file system alone": {func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "image")
			command(t, "", "mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, path, "60M")
			return path
		}, "found a file system without a disk around it"},
		"gzip": {edited(whole, func(t *testing.T, path string) {
			command(t, "", "sh", "-c", `gzip -1 "$1" && mv "$1.gz" "$1"`, "sh", path)
		}), "found a file that is compressed with gzip"},
		"web page": {edited(whole, put(0, "<!DOCTYPE html>")), "found a file that is a text, as of a web page"},
		"not unmounted": {edited(whole, func(t *testing.T, path string) {
			// needs_recovery, without the checksum that the old superblock has.
			put(root+1024+0x60, "\xc6")(t, path)
		}), "partition 1: ext4:"},
	} {
		t.Run(name, func(t *testing.T) {
			path := tt.image(t)
			image, err := Open(t.Context(), run.Host{}, path, t.TempDir(), "noble.img")
			if err == nil {
				image.Close()
				t.Fatal("it was accepted")
			}
			for _, want := range []string{"the cloud image noble.img: ", tt.want, "expected a qcow2, raw or VHD image with a GUID partition table and an ext4 root that is no part of LVM", "base.cloudImage"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not said in: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), filepath.Dir(path)) {
				t.Errorf("the place of the file in the store says nothing: %v", err)
			}
			if exitcode.Of(err) != exitcode.Usage {
				t.Errorf("exit code %d", exitcode.Of(err))
			}
		})
	}
}
