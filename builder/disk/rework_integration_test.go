//go:build integration

package disk

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// oldScript has a root that is number 1 and lies last, as on Ubuntu's cloud
// images, with what a new table must keep: numbers, gaps, names, attributes.
const oldScript = `label: gpt
label-id: 11111111-2222-4333-8444-555555555555
unit: sectors
1 : start=131072, size=194560, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=AAAAAAAA-0000-4000-8000-000000000001
14 : start=2048, size=8192, type=21686148-6449-6E6F-744E-656564454649, uuid=AAAAAAAA-0000-4000-8000-00000000000E
15 : start=10240, size=40960, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=AAAAAAAA-0000-4000-8000-00000000000F, attrs="RequiredPartition"
16 : start=65536, size=65536, type=BC13C2FF-59E6-4262-A352-B275FD6F7172, uuid=AAAAAAAA-0000-4000-8000-000000000010, name="the boot files"
`

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// oldDisk is a disk of 160 MiB whose kept places are full of noise.
func oldDisk(t *testing.T, features string) Original {
	t.Helper()
	path := filepath.Join(t.TempDir(), "old.raw")
	if err := sparse(path, 160<<20); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	noise := make([]byte, 32<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	// Boot code, and the whole of what lies before /boot.
	if _, err := f.WriteAt(noise[:440], 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(noise[1<<20:], 1<<20); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sfdisk", "-q", "--wipe", "never", "--wipe-partitions", "never", path)
	cmd.Stdin = strings.NewReader(oldScript)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	command(t, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-O", features, "-L", "cloudimg-rootfs", "-U", "0a1b2c3d-0000-4000-8000-000000000001", "-E", fmt.Sprintf("offset=%d", 131072*512), path, "95M")
	command(t, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-O", features, "-L", "BOOT", "-U", "0a1b2c3d-0000-4000-8000-000000000010", "-E", fmt.Sprintf("offset=%d", 65536*512), path, "32M")
	return Original{Disk: f, Size: 160 << 20, Root: 1, Boot: 16, Partitions: map[int]OldPartition{
		1: {131072 * 512, 194560 * 512}, 14: {2048 * 512, 8192 * 512}, 15: {10240 * 512, 40960 * 512}, 16: {65536 * 512, 65536 * 512},
	}}
}

// someNode is a tree with a kernel in /boot.
func someNode(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"etc/os-release": "ID=ubuntu\n", "usr/bin/true": strings.Repeat("x", 100_000),
		"boot/vmlinuz-6.8": strings.Repeat("kernel", 10_000), "boot/grub/grub.cfg": "linux /vmlinuz-6.8\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "setfattr", "-n", "user.test", "-v", "kept", filepath.Join(dir, "usr/bin/true"))
	return dir
}

func bytesAt(t *testing.T, r io.ReaderAt, offset, size int64) []byte {
	t.Helper()
	b := make([]byte, size)
	if _, err := r.ReadAt(b, offset); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRework(t *testing.T) {
	for what, features := range map[string]string{
		"e2fsprogs 1.47":    "none,has_journal,ext_attr,resize_inode,dir_index,orphan_file,filetype,extent,64bit,flex_bg,metadata_csum_seed,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum",
		"without checksums": "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize",
	} {
		t.Run(what, func(t *testing.T) {
			old, tree := oldDisk(t, features), someNode(t)
			before := command(t, "find", tree, "-printf", "%p %m %s %T@\n")
			r, err := NewRework(old, 300<<20, someTime)
			if err != nil {
				t.Fatal(err)
			}
			var paths []string
			for range 2 {
				path := filepath.Join(t.TempDir(), "new.raw")
				if err := r.Assemble(t.Context(), run.Host{}, tree, path, t.TempDir()); err != nil {
					t.Fatal(err)
				}
				paths = append(paths, path)
			}
			path := paths[0]
			command(t, "cmp", paths[0], paths[1])
			if diff := cmp.Diff(before, command(t, "find", tree, "-printf", "%p %m %s %T@\n")); diff != "" {
				t.Errorf("the tree was changed (-before +after):\n%s", diff)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for name, at := range map[string][2]int64{"boot code": {0, 440}, "what lies before /boot": {1 << 20, 31 << 20}} {
				if !bytes.Equal(bytesAt(t, old.Disk, at[0], at[1]), bytesAt(t, f, at[0], at[1])) {
					t.Errorf("%s is not what it was", name)
				}
			}
			if out := command(t, "sfdisk", "--verify", path); !strings.Contains(out, "No errors detected") {
				t.Errorf("sfdisk says: %s", out)
			}
			dump := func(path string) string {
				out := command(t, "sfdisk", "--dump", path)
				var kept []string
				for line := range strings.Lines(strings.ReplaceAll(out, path, "disk")) {
					if !strings.HasPrefix(line, "last-lba") {
						kept = append(kept, line)
					}
				}
				return strings.Join(kept, "")
			}
			// 300 MiB, less what lies before the root and the last MiB.
			want := strings.Replace(dump(old.Disk.(*os.File).Name()), "start=      131072, size=      194560", "start=      131072, size=      481280", 1)
			if diff := cmp.Diff(want, dump(path)); diff != "" {
				t.Errorf("partition table (-want +got):\n%s", diff)
			}
			for _, part := range []struct {
				offset, size int64
				uuid, label  string
				has, hasNot  string
			}{
				{131072 * 512, 481280 * 512, "0a1b2c3d-0000-4000-8000-000000000001", "cloudimg-rootfs", "/usr/bin/true", "/boot/vmlinuz-6.8"},
				{65536 * 512, 65536 * 512, "0a1b2c3d-0000-4000-8000-000000000010", "BOOT", "/vmlinuz-6.8", "/usr"},
			} {
				at := fmt.Sprintf("%s?offset=%d", path, part.offset)
				head := command(t, "dumpe2fs", "-h", at)
				id, err := readExt4ID(f, part.offset)
				if err != nil || id.UUID != part.uuid || id.Label != part.label || !strings.Contains(head, fmt.Sprintf("Block count:              %d\n", part.size/4096)) {
					t.Errorf("%+v, %v:\n%s", id, err, head)
				}
				if was, err := readExt4ID(old.Disk, part.offset); err != nil || !cmp.Equal(was, id) {
					t.Errorf("the file system was %+v, %v, and is %+v", was, err, id)
				}
				if out := command(t, "debugfs", "-R", "stat "+part.has, at); !strings.Contains(out, "Type: regular") || !strings.Contains(out, fmt.Sprintf("mtime: 0x%08x", someTime.Unix())) {
					t.Errorf("%s: %s", part.has, out)
				}
				if out := command(t, "debugfs", "-R", "stat "+part.hasNot, at); !strings.Contains(out, "File not found") {
					t.Errorf("%s is there: %s", part.hasNot, out)
				}
			}
			if out := command(t, "debugfs", "-R", "ea_get /usr/bin/true user.test", fmt.Sprintf("%s?offset=%d", path, 131072*512)); !strings.Contains(out, "kept") {
				t.Errorf("an attribute is lost: %s", out)
			}
		})
	}
}

// What does not fit is said to be so, and the tree is as it was.
func TestReworkTooSmall(t *testing.T) {
	old, tree := oldDisk(t, "none,has_journal,extent,filetype,sparse_super,extra_isize,metadata_csum,64bit"), someNode(t)
	noise := make([]byte, 150<<20)
	for i := range noise {
		noise[i] = byte(i*i>>7) | 1
	}
	if err := os.WriteFile(filepath.Join(tree, "large"), noise, 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := NewRework(old, 162<<20, someTime)
	if err != nil {
		t.Fatal(err)
	}
	err = r.Assemble(t.Context(), run.Host{}, tree, filepath.Join(t.TempDir(), "new.raw"), t.TempDir())
	if exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "does not fit into its partition of 97 MiB: raise disk.size") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(tree, "boot/vmlinuz-6.8")); err != nil {
		t.Error(err)
	}
}
