package disk

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

const clusterSize = 64 << 10

// sampleEvery is which of the clusters with data are compressed: each sixteenth
// of a node image is enough to tell levels apart by a tenth of a percent.
const sampleEvery = 16

// BenchmarkQCOW2Level compresses the clusters of a raw disk, each by itself as
// qemu-img does, at several levels of the same libzstd. qemu-img has no option
// for the level and leaves it at the library's default, 3. Its table is in
// docs/reproducible.md:
//
//	qemu-img convert -O raw debian-13.qcow2 disk.raw
//	NODEIMAGE_BENCH_DISK=$PWD/disk.raw go test -run - -bench QCOW2Level -benchtime 3x ./builder/disk
//
// It counts the CPU time of the zstd command and not the clock, so that other work
// on the machine counts little, and the least of all rounds.
func BenchmarkQCOW2Level(b *testing.B) {
	raw := os.Getenv("NODEIMAGE_BENCH_DISK")
	if raw == "" {
		b.Skip("NODEIMAGE_BENCH_DISK names no raw disk")
	}
	if _, err := exec.LookPath("zstd"); err != nil {
		b.Skip("no zstd")
	}
	dir := b.TempDir()
	clusters := sample(b, raw, dir)
	size := float64(len(clusters)) * clusterSize
	b.Logf("%d clusters of %s", len(clusters), raw)
	for _, level := range []int{1, 3, 6, 9, 12, 19} {
		b.Run(strconv.Itoa(level), func(b *testing.B) {
			var compressed counter
			least := time.Hour
			for b.Loop() {
				compressed = 0
				cmd := exec.Command("zstd", append([]string{"-q", "-" + strconv.Itoa(level), "--single-thread", "--no-check", "-c"}, clusters...)...)
				cmd.Dir, cmd.Stdout = dir, &compressed
				if err := cmd.Run(); err != nil {
					b.Fatalf("zstd -%d: %v", level, err)
				}
				least = min(least, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
			}
			b.ReportMetric(100*float64(compressed)/size, "%size")
			b.ReportMetric(least.Seconds()/size*(1<<30), "cpu-s/GiB")
		})
	}
}

// counter counts what is written to it.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// sample writes every sixteenth cluster that is not all zero into a file of its
// own, since qemu-img writes no others, and returns the names.
func sample(b *testing.B, raw, dir string) []string {
	b.Helper()
	in, err := os.Open(raw)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	cluster, zeros := make([]byte, clusterSize), make([]byte, clusterSize)
	var names []string
	for n := 0; ; {
		_, err := io.ReadFull(in, cluster)
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			b.Fatal(err)
		}
		if bytes.Equal(cluster, zeros) {
			continue
		}
		if n%sampleEvery == 0 {
			name := strconv.Itoa(n)
			if err := os.WriteFile(filepath.Join(dir, name), cluster, 0o600); err != nil {
				b.Fatal(err)
			}
			names = append(names, name)
		}
		n++
	}
}
