package disk

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// sampleEvery is which of the clusters with data are compressed: each sixteenth
// of a node image is enough to tell levels apart by a tenth of a percent.
const sampleEvery = 16

// BenchmarkQCOW2Level compresses the clusters of a raw disk, each by itself, at
// the encoder's levels. Its table is in docs/reproducible.md:
//
//	qemu-img convert -O raw debian-13.qcow2 disk.raw
//	NODEIMAGE_BENCH_DISK=$PWD/disk.raw go test -run - -bench QCOW2Level -benchtime 3x ./builder/disk
//
// It counts this process's CPU time and not the clock, so that other work on the
// machine counts little, and the least of all rounds.
func BenchmarkQCOW2Level(b *testing.B) {
	raw := os.Getenv("NODEIMAGE_BENCH_DISK")
	if raw == "" {
		b.Skip("NODEIMAGE_BENCH_DISK names no raw disk")
	}
	clusters := sample(b, raw)
	size := float64(len(clusters)) * qcow2Cluster
	b.Logf("%d clusters of %s", len(clusters), raw)
	for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression, zstd.SpeedBestCompression} {
		b.Run(level.String(), func(b *testing.B) {
			encoder, err := newQCOW2Encoder(level)
			if err != nil {
				b.Fatal(err)
			}
			compressed, made := 0, make([]byte, 0, 2*qcow2Cluster)
			least := time.Hour
			for b.Loop() {
				compressed = 0
				before := cpuTime(b)
				for _, cluster := range clusters {
					compressed += min(qcow2Cluster, len(encoder.EncodeAll(cluster, made)))
				}
				least = min(least, cpuTime(b)-before)
			}
			b.ReportMetric(100*float64(compressed)/size, "%size")
			b.ReportMetric(least.Seconds()/size*(1<<30), "cpu-s/GiB")
		})
	}
}

// cpuTime is what this process has taken so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// sample returns every sixteenth cluster that is not all zero.
func sample(b *testing.B, raw string) (clusters [][]byte) {
	b.Helper()
	in, err := os.Open(raw)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	for n := 0; ; {
		cluster := make([]byte, qcow2Cluster)
		_, err := io.ReadFull(in, cluster)
		if errors.Is(err, io.EOF) {
			return clusters
		}
		if err != nil {
			b.Fatal(err)
		}
		if bytes.Equal(cluster, qcow2Zeros[:]) {
			continue
		}
		if n%sampleEvery == 0 {
			clusters = append(clusters, cluster)
		}
		n++
	}
}
