//go:build integration

package target

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/target/internal/fat"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target/internal/qcow2"
)

// TestQcow2AgainstQemuImg compares bytes with the raw file that qemu-img made
// the images of.
func TestQcow2AgainstQemuImg(t *testing.T) {
	dir := t.TempDir()
	raw := mkfs(t, source(t), "-t", "ext4", "-b", "4096")
	want, err := os.ReadFile(raw)
	must(t, err)
	for _, opts := range []string{
		"compat=0.10", "compat=0.10,cluster_size=512", "compat=1.1", "compat=1.1,cluster_size=2M", "compat=1.1,lazy_refcounts=on",
		"compat=1.1,extended_l2=on,cluster_size=128k", "compat=1.1,preallocation=metadata", "compat=1.1,refcount_bits=1",
		"c,compat=0.10", "c,compat=1.1,compression_type=zlib", "c,compat=1.1,compression_type=zlib,cluster_size=2M",
		"c,compat=1.1,compression_type=zstd,cluster_size=4k", "c,compat=1.1,compression_type=zstd", "c,compat=1.1,compression_type=zstd,cluster_size=2M",
		"c,compat=1.1,compression_type=zstd,extended_l2=on",
	} {
		t.Run(opts, func(t *testing.T) {
			img := filepath.Join(dir, strings.NewReplacer(",", "_", "=", "-").Replace(opts)+".qcow2")
			args := []string{"convert", "-q", "-O", "qcow2"}
			o, compressed := strings.CutPrefix(opts, "c,")
			if compressed {
				args = append(args, "-c")
			}
			run(t, "qemu-img", append(args, "-o", o, raw, img)...)
			equal(t, img, want)
		})
	}
	t.Run("chain", func(t *testing.T) {
		// Three images on each other, the last longer than the first, with
		// data, discarded and untouched parts in each.
		base, mid, top := filepath.Join(dir, "base.qcow2"), filepath.Join(dir, "mid.qcow2"), filepath.Join(dir, "top.qcow2")
		run(t, "qemu-img", "convert", "-q", "-c", "-O", "qcow2", "-o", "compression_type=zstd", raw, base)
		run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", mid)
		run(t, "qemu-io", "-c", "write -P 7 100k 300k", "-c", "write -z 1M 2M", "-c", "write -P 9 50M 1M", mid)
		run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", "-o", "extended_l2=on,cluster_size=64k", top, "200M")
		run(t, "qemu-io", "-c", "write -P 3 5000 3000", "-c", "write -P 4 199M 4k", "-c", "write -z 60M 64k", "-c", "discard 110k 64k", top)
		flat := filepath.Join(dir, "flat.raw")
		run(t, "qemu-img", "convert", "-q", "-O", "raw", top, flat)
		want, err := os.ReadFile(flat)
		must(t, err)
		equal(t, top, want)
	})
	t.Run("refused", func(t *testing.T) {
		luks := filepath.Join(dir, "luks.qcow2")
		// qemu-img measures the CPU's speed for a key, and now and then gives
		// up on a busy machine: "Unable to get accurate CPU usage".
		var out []byte
		var err error
		for range 10 {
			out, err = exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=x",
				"-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", luks, "10M").CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte("accurate CPU usage")) {
				break
			}
		}
		if err != nil {
			t.Fatalf("qemu-img create: %v\n%s", err, out)
		}
		wantBad(t, openErr(t, luks), "encrypted (LUKS)")

		external := filepath.Join(dir, "external.qcow2")
		run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+filepath.Join(dir, "data.raw"), external, "10M")
		wantBad(t, openErr(t, external), "external")
	})
}

func equal(t *testing.T, img string, want []byte) {
	t.Helper()
	tg := &Target{path: img}
	defer tg.Close()
	f, err := os.Open(img)
	must(t, err)
	defer f.Close()
	fi, err := f.Stat()
	must(t, err)
	var m *qcow2.Image
	m, err = tg.openQcow2(f, fi.Size(), filepath.Dir(img), 0)
	must(t, err)
	got, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes differ from the %d of the raw file", len(got), len(want))
	}
}

// TestFATAgainstMtools reads what mcopy wrote, on all three sizes of tables.
func TestFATAgainstMtools(t *testing.T) {
	src := t.TempDir()
	r := rand.New(rand.NewPCG(8, 8))
	files := map[string][]byte{}
	for i := range 40 {
		name := fmt.Sprintf("EFI/Dir %d/a somewhat longer name, ünïcode %d.conf", i%4, i)
		b := make([]byte, r.IntN(20000))
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		files[name] = b
		p := filepath.Join(src, name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, b, 0o600))
	}
	for bits, size := range map[string]string{"12": "2M", "16": "32M", "32": "64M"} {
		img := filepath.Join(t.TempDir(), "fat.img")
		run(t, "truncate", "-s", size, img)
		run(t, "mkfs.fat", "-F", bits, "-s", "1", img)
		cmd := exec.Command("mcopy", "-s", "-i", img, filepath.Join(src, "EFI"), "::")
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		f, err := os.Open(img)
		must(t, err)
		defer f.Close()
		fi, err := f.Stat()
		must(t, err)
		fsys, err := fat.Open(f, fi.Size())
		must(t, err)
		v := &view{fatNode{fsys.Root()}}
		n := 0
		must(t, fs.WalkDir(v, ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			n++
			got, err := v.ReadFile(p)
			if want, ok := files[p]; !ok || !bytes.Equal(got, want) {
				t.Errorf("FAT%s: %s differs", bits, p)
			}
			return err
		}))
		if n != len(files) {
			t.Errorf("FAT%s: %d files, want %d", bits, n, len(files))
		}
	}
}

// TestTarOfTheSameTree packs the tree with tar, and reads it like the tree.
func TestTarOfTheSameTree(t *testing.T) {
	src := source(t)
	dir := t.TempDir()
	for ext, args := range map[string][]string{"tar": nil, "tar.gz": {"--gzip"}, "tar.zst": {"--zstd"}} {
		p := filepath.Join(dir, "t."+ext)
		run(t, "tar", append(args, "--xattrs", "--xattrs-include=*", "-C", src, "-cf", p, ".")...)
		tg, err := Open(context.Background(), p)
		must(t, err)
		host := mustOpen(t, src).Root()
		n := 0
		must(t, fs.WalkDir(host, ".", func(p string, d fs.DirEntry, err error) error {
			must(t, err)
			n++
			a, err := d.Info()
			must(t, err)
			b, err := tg.Root().Lstat(p)
			must(t, err)
			sa, _ := SysOf(a)
			sb, _ := SysOf(b)
			if a.Mode() != b.Mode() || sa.UID != sb.UID || sa.GID != sb.GID || sa.Major != sb.Major || sa.Minor != sb.Minor {
				t.Errorf("%s: %s: %v %+v, want %v %+v", ext, p, b.Mode(), sb, a.Mode(), sa)
			}
			if a.Mode().IsRegular() {
				want, err := host.ReadFileMax(p, 1<<30)
				must(t, err)
				if got, err := tg.Root().ReadFileMax(p, 1<<30); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %s differs (%v)", ext, p, err)
				}
			}
			return nil
		}))
		if n < 3000 {
			t.Errorf("%s: %d files were compared", ext, n)
		}
		want, _, err := FileCapabilities(host, "bin/caps")
		must(t, err)
		if got, ok, err := FileCapabilities(tg.Root(), "bin/caps"); err != nil || !ok || got != want {
			t.Errorf("%s: capabilities %+v, %v, %v, want %+v", ext, got, ok, err, want)
		}
		must(t, tg.Close())
	}
}
