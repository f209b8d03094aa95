//go:build integration

package target

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	benchConfigs = 60
	benchFiles   = 40000
	benchData    = 600 << 20 // of what compresses by half, roughly
)

// benchImage makes a disk the size of a node image: a qcow2 with zstd, a GUID
// partition table, 40000 small files and ten large ones.
func benchImage(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	r := rand.New(rand.NewPCG(6, 0))
	put := func(name string, n int) {
		t.Helper()
		p := filepath.Join(src, name)
		b := make([]byte, n)
		for i := 0; i < n; i++ {
			if i%16 < 8 {
				b[i] = byte(r.Uint32())
			}
		}
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, b, 0o644))
	}
	for i := range benchConfigs {
		put(fmt.Sprintf("etc/dir%d/config%d.toml", i%9, i), 3000)
	}
	for i := range benchFiles {
		put(fmt.Sprintf("usr/share/d%d/s%d/file-%d", i%20, i%400, i), r.IntN(8000))
	}
	for i := range 10 {
		put(fmt.Sprintf("usr/bin/binary%d", i), benchData/10)
	}
	raw, img := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "disk.qcow2")
	run(t, "truncate", "-s", "3G", raw)
	cmd := exec.Command("sfdisk", "-q", raw)
	cmd.Stdin = strings.NewReader("label: gpt\nstart=2048, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-E", "offset=1048576", "-d", src, raw, "3000M")
	run(t, "qemu-img", "convert", "-q", "-c", "-W", "-O", "qcow2", "-o", "compression_type=zstd", raw, img)
	must(t, os.RemoveAll(src))
	must(t, os.Remove(raw))
	return img
}

// readConfigs is what validate does first.
func readConfigs(img string) error {
	tg, err := Open(context.Background(), img)
	if err != nil {
		return err
	}
	defer tg.Close()
	for i := range benchConfigs {
		b, err := tg.Root().ReadFile(fmt.Sprintf("etc/dir%d/config%d.toml", i%9, i))
		if err != nil {
			return err
		}
		if len(b) != 3000 {
			return fmt.Errorf("%d bytes, want 3000", len(b))
		}
	}
	return nil
}

// walkImage looks at the mode and the owner of every file; with read it also
// reads all there is.
func walkImage(img string, read bool) error {
	tg, err := Open(context.Background(), img)
	if err != nil {
		return err
	}
	defer tg.Close()
	n := 0
	err = Walk(context.Background(), tg.Root(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		n++
		fi, err := d.Info()
		if err != nil || !read || !fi.Mode().IsRegular() {
			return err
		}
		f, err := tg.Root().Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(io.Discard, f)
		return err
	})
	if err == nil && n < benchFiles {
		err = fmt.Errorf("%d files, want at least %d", n, benchFiles)
	}
	return err
}

func BenchmarkImage(b *testing.B) {
	img := benchImage(b)
	for name, f := range map[string]func() error{
		"open and read 60 files":   func() error { return readConfigs(img) },
		"lstat of all 40000 files": func() error { return walkImage(img, false) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				must(b, f())
			}
		})
	}
}

const childImage = "NODEIMAGE_TEST_MEMORY_OF"

// TestMemoryStaysBounded reads a whole image in a process of its own and asks
// the kernel how much memory that ever had.
func TestMemoryStaysBounded(t *testing.T) {
	if img := os.Getenv(childImage); img != "" {
		must(t, walkImage(img, true))
		status, err := os.ReadFile("/proc/self/status")
		must(t, err)
		fmt.Println(regexp.MustCompile(`VmHWM:\s+\d+ kB`).FindString(string(status)))
		return
	}
	img := benchImage(t)
	start := time.Now()
	must(t, readConfigs(img))
	t.Logf("open and 60 files: %v", time.Since(start))
	cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryStaysBounded$")
	cmd.Env = append(os.Environ(), childImage+"="+img)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("no VmHWM in %s", out)
	}
	kb, err := strconv.Atoi(string(m[1]))
	must(t, err)
	t.Logf("peak memory of reading everything: %d MiB", kb>>10)
	if kb > 150<<10 {
		t.Errorf("peak memory is %d KiB, want at most 150 MiB", kb)
	}
}
