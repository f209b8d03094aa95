package qcow2

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// TestBombCostsOneCluster reads a cluster that would decompress to a thousand times its size.
func TestBombCostsOneCluster(t *testing.T) {
	t.Parallel()
	zeros := make([]byte, 1<<20)
	var fl bytes.Buffer
	fw, err := flate.NewWriter(&fl, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	for range 64 {
		if _, err := fw.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := fw.Close(); err != nil {
		t.Fatal(err)
	}
	// A frame of one block: a megabyte repeated costs 4 bytes a block.
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58}
	for range 1 << 13 {
		frame = append(frame, 0x02, 0x00, 0x10, 0) // RLE block of 128 KiB
	}
	for name, tt := range map[string]struct {
		spec   spec
		packed []byte
	}{
		"zlib": {spec{3, 16, "zlib", false}, fl.Bytes()},
		"zstd": {spec{3, 16, "zstd", false}, frame},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := tt.spec.write(t, bytes.Repeat([]byte{1}, 1<<16))
			packed := tt.packed[:min(len(tt.packed), 60000)]
			be.PutUint64(b[2<<16:], 3<<16|uint64(len(packed)/512)<<54|compressedFlag)
			b = append(b[:3<<16], packed...)
			b = append(b, make([]byte, 512)...)
			m := mustOpen(t, b)
			got := make([]byte, 1<<16)
			got[0] = 1
			if _, err := m.ReadAt(got, 0); err != nil || !bytes.Equal(got, make([]byte, 1<<16)) {
				t.Errorf("a bomb's first cluster: %v, want zeros", err)
			}
			if used := m.clusters.Used(); used != 1<<16 {
				t.Errorf("%d bytes are cached, want one cluster", used)
			}
		})
	}
}

// TestZstdWindowIsBounded asks for a window of 3.5 TiB.
func TestZstdWindowIsBounded(t *testing.T) {
	t.Parallel()
	s := spec{3, 16, "zstd", false}
	b := s.write(t, bytes.Repeat([]byte{1}, 1<<16))
	copy(b[3<<16:], []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 0x03, 0x00, 0x10})
	_, err := mustOpen(t, b).ReadAt(make([]byte, 10), 0)
	wantBad(t, err, "window size")
}

func FuzzQcow2(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Open(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			m.SetBacking(strings.NewReader("backing file"), 12)
			p := make([]byte, 3000)
			err = m.Verify(1 << 12)
			for _, off := range []int64{0, 500, m.Size() / 2, m.Size() - 1000} {
				_, rerr := m.ReadAt(p, max(0, off))
				if errors.Is(rerr, io.EOF) && exitcode.Of(rerr) != exitcode.Usage {
					rerr = nil
				}
				if err == nil {
					err = rerr
				}
			}
		}
		if err != nil && exitcode.Of(err) != exitcode.Usage {
			t.Fatalf("exit code %d, want 2: %v", exitcode.Of(err), err)
		}
	})
}
