package disk

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// qcow2Disk makes a disk of that many bytes with data of every kind: what shrinks
// to next to nothing, what shrinks a little, what does not, zeros that take
// space, and holes.
func qcow2Disk(t *testing.T, size int64) (path string, content []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	content = make([]byte, size)
	noise := rand.New(rand.NewPCG(1, 2))
	for at := int64(0); at < size; {
		length := min(1+noise.Int64N(5*qcow2Cluster), size-at)
		block := content[at : at+length]
		switch kind := noise.IntN(5); kind {
		case 0: // a hole
			at += length
			continue
		case 1: // zeros
		default:
			for i := range block {
				if b := byte(noise.Uint32()); kind == 2 || kind == 3 && i%3 > 0 {
					block[i] = b
				} else if kind == 4 {
					block[i] = 'x'
				}
			}
		}
		if _, err := f.WriteAt(block, at); err != nil {
			t.Fatal(err)
		}
		at += length
	}
	return path, content
}

func makeQCOW2(t *testing.T, raw string, size int64) []byte {
	t.Helper()
	in, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	out, err := exclusive(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := &qcow2Writer{out: out, size: size, next: qcow2Cluster}
	if err := w.copy(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if err := w.finish(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// readQCOW2 reads an image by the letter of the specification, and counts the
// references to each cluster of the file while it does.
func readQCOW2(t *testing.T, image []byte) (content []byte, used map[uint64]int) {
	t.Helper()
	be := binary.BigEndian
	size, l1Entries, l1At := be.Uint64(image[24:]), be.Uint32(image[36:]), be.Uint64(image[40:])
	content, used = make([]byte, size+qcow2Cluster), map[uint64]int{0: 1}
	used[l1At/qcow2Cluster]++
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	for i := range uint64(l1Entries) {
		l2At := be.Uint64(image[l1At+8*i:]) &^ qcow2Copied
		if l2At == 0 {
			continue
		}
		used[l2At/qcow2Cluster]++
		for j := range uint64(qcow2L2Entries) {
			entry := be.Uint64(image[l2At+8*j:])
			to := (i*qcow2L2Entries + j) * qcow2Cluster
			switch {
			case entry == 0:
			case entry&qcow2Compressed == 0:
				at := entry &^ qcow2Copied
				used[at/qcow2Cluster]++
				copy(content[to:], image[at:at+qcow2Cluster])
			default:
				at := entry & (1<<qcow2LengthShift - 1)
				sectors := entry&^(qcow2Compressed)>>qcow2LengthShift + 1
				end := (at/qcow2Sector + sectors) * qcow2Sector
				for c := at / qcow2Cluster; c <= (end-1)/qcow2Cluster; c++ {
					used[c]++
				}
				// What follows in the last sector is another cluster's.
				var frame zstd.Header
				if err := frame.Decode(image[at:end]); err != nil || frame.FrameContentSize != qcow2Cluster {
					t.Fatalf("cluster %d: %v, %d bytes", to/qcow2Cluster, err, frame.FrameContentSize)
				}
				r, err := zstd.NewReader(bytes.NewReader(image[at:end]), zstd.WithDecoderConcurrency(1))
				if err != nil {
					t.Fatal(err)
				}
				if n, err := r.Read(content[to : to+qcow2Cluster]); n != qcow2Cluster {
					t.Fatalf("cluster %d: %d bytes, %v", to/qcow2Cluster, n, err)
				}
				r.Close()
			}
		}
	}
	return content[:size], used
}

// Sizes: one cluster, less than one, a table's worth and a little more.
func TestQCOW2HoldsTheDisk(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{qcow2Cluster, 3 * SectorSize, 48 << 20, 5*qcow2Cluster + 7*SectorSize} {
		raw, want := qcow2Disk(t, size)
		image := makeQCOW2(t, raw, size)
		got, used := readQCOW2(t, image)
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes: the image holds something else", size)
		}
		be := binary.BigEndian
		countsAt, clusters := be.Uint64(image[48:]), be.Uint32(image[56:])
		for c := range uint64(clusters) {
			used[countsAt/qcow2Cluster+c]++
		}
		for i := range uint64(clusters) * qcow2L2Entries {
			if block := be.Uint64(image[countsAt+8*i:]); block != 0 {
				used[block/qcow2Cluster]++
			}
		}
		for c := range uint64(len(image) / qcow2Cluster) {
			block := be.Uint64(image[countsAt+8*(c/qcow2BlockCounts):])
			if count := be.Uint16(image[block+2*(c%qcow2BlockCounts):]); int(count) != used[c] {
				t.Errorf("%d bytes: cluster %d of the file is counted %d times and used %d times", size, c, count, used[c])
			}
		}
		if len(image)%qcow2Cluster != 0 {
			t.Errorf("%d bytes: the file ends in the middle of a cluster", size)
		}
	}
}

// The bytes depend neither on how many processors there are nor on which of
// them was the first.
func TestQCOW2IsReproducible(t *testing.T) {
	const size = 24 << 20
	raw, _ := qcow2Disk(t, size)
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	want := makeQCOW2(t, raw, size)
	for _, processors := range []int{1, 2, 7} {
		runtime.GOMAXPROCS(processors)
		if !bytes.Equal(makeQCOW2(t, raw, size), want) {
			t.Errorf("%d processors give another file", processors)
		}
	}
}

// The counts of a file with more than 2 GiB need more than one block.
func TestQCOW2CountClusters(t *testing.T) {
	t.Parallel()
	for clusters, want := range map[int64]int64{1: 1, qcow2BlockCounts - 2: 1, qcow2BlockCounts - 1: 2, 3 * qcow2BlockCounts: 4} {
		w := qcow2Writer{next: clusters * qcow2Cluster}
		if blocks, table := w.countClusters(); blocks != want || table != 1 {
			t.Errorf("%d clusters: %d blocks and %d of the table, want %d and 1", clusters, blocks, table, want)
		}
	}
}
