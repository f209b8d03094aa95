package treediff

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

const images = "../../validate/target/testdata/"

// disk opens the small disk of the target package, changed.
func disk(t *testing.T, change func(raw []byte) []byte) *target.Target {
	t.Helper()
	f, err := os.Open(images + "disk.raw.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(p, change(raw), 0o600); err != nil {
		t.Fatal(err)
	}
	return open1(t, p)
}

func open1(t *testing.T, p string) *target.Target {
	t.Helper()
	opened, err := target.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened
}

func asIs(raw []byte) []byte { return raw }

func TestDisksAreComparedAsAGuestSeesThem(t *testing.T) {
	t.Parallel()
	raw, qcow := disk(t, asIs), open1(t, images+"disk.qcow2")
	result, err := Disks(t.Context(), raw, qcow)
	if err != nil {
		t.Fatal(err)
	}
	if !result.Same() {
		t.Errorf("a raw image and a qcow2 of it differ: %+v", result)
	}
	a, err := DiskSum(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	b, err := DiskSum(t.Context(), qcow)
	if err != nil || a != b || len(a) != 64 {
		t.Errorf("sums of the disk: %q and %q, %v", a, b, err)
	}
}

func TestDisksNameTheRange(t *testing.T) {
	t.Parallel()
	a := disk(t, asIs)
	part := a.Partitions()[len(a.Partitions())-1]
	at := part.Start + part.Length - 700
	b := disk(t, func(raw []byte) []byte {
		raw[at] ^= 1
		raw[part.Start-1] ^= 1
		return raw
	})
	result, err := Disks(t.Context(), a, b)
	if err != nil {
		t.Fatal(err)
	}
	want := []Range{
		{Start: part.Start - 512, Length: 512, Where: "outside of all partitions"},
		{Start: at &^ 511, Length: 512, Where: "partition 2", Offset: at&^511 - part.Start},
	}
	for _, p := range a.Partitions() {
		if s := part.Start - 512; s >= p.Start && s < p.Start+p.Length {
			want[0].Where, want[0].Offset = "partition 1", s-p.Start
		}
	}
	if diff := cmp.Diff(want, result.Ranges); diff != "" || result.Same() {
		t.Error(diff)
	}
	if result.TotalBytes != 1024 || result.TotalRanges != 2 || len(result.Partitions) != 0 {
		t.Errorf("got %+v", result)
	}
}

func TestDisksWantsDisks(t *testing.T) {
	t.Parallel()
	if _, err := Disks(t.Context(), disk(t, asIs), open1(t, t.TempDir())); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("got %v, want an error of exit code 2", err)
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte("x"), 3*chunk)
	other := bytes.Clone(long)
	for i := chunk - 100; i < chunk+100; i++ {
		other[i] = 'y' // over the border of two reads
	}
	many := bytes.Clone(long)
	for i := 0; i < len(many); i += 1024 {
		many[i] = 'y'
	}
	for name, tt := range map[string]struct {
		a, b   []byte
		ranges []Range
		total  int
		differ int64
	}{
		"same":   {a: long, b: long},
		"border": {a: long, b: other, ranges: []Range{{Start: chunk - 512, Length: 1024}}, total: 1, differ: 1024},
		"longer": {a: long, b: long[:chunk+3], ranges: []Range{{Start: chunk + 3, Length: 2*chunk - 3}}, total: 1, differ: 2*chunk - 3},
		"empty":  {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ranges, total, differ, err := Bytes(t.Context(), bytes.NewReader(tt.a), int64(len(tt.a)), bytes.NewReader(tt.b), int64(len(tt.b)))
			if err != nil || total != tt.total || differ != tt.differ || !cmp.Equal(ranges, tt.ranges) {
				t.Errorf("got %+v, %d, %d, %v", ranges, total, differ, err)
			}
		})
	}
	ranges, total, differ, err := Bytes(t.Context(), bytes.NewReader(long), int64(len(long)), bytes.NewReader(many), int64(len(many)))
	if err != nil || len(ranges) > maxRanges || total != 768 || differ != 768*512 {
		t.Errorf("got %d ranges, %d, %d, %v", len(ranges), total, differ, err)
	}
	if _, _, _, err := Bytes(t.Context(), bytes.NewReader(long[:5]), 10, bytes.NewReader(long), 10); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a disk that ends early: got %v, want an error of exit code 2", err)
	}
}
