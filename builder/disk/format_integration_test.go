//go:build integration

package disk

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// someDisk makes a disk with data at its start, across a grain of every format,
// and in its last sector.
func someDisk(t *testing.T) Source {
	t.Helper()
	const size = 96 << 20
	raw := filepath.Join(t.TempDir(), "node.raw")
	f, err := os.Create(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	noise := rand.New(rand.NewPCG(1, 2))
	for _, at := range []int64{0, 1<<20 + 1000, 33 << 20, size - 512} {
		block := make([]byte, min(200_000, size-at))
		for i := range block {
			block[i] = byte(noise.Uint32())
		}
		if _, err := f.WriteAt(block, at); err != nil {
			t.Fatal(err)
		}
	}
	return Source{Raw: raw, Size: size, Name: "node", Distribution: "debian", Arch: "amd64", Seed: "some inputs"}
}

func convert(t *testing.T, format string, src Source) string {
	t.Helper()
	path, err := Convert(t.Context(), run.Host{}, format, src, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFormatsHoldTheDisk(t *testing.T) {
	src := someDisk(t)
	for format, driver := range map[string]string{"qcow2": "qcow2", "vhd": "vpc", "vmdk": "vmdk"} {
		path := convert(t, format, src)
		if _, err := (run.Host{}).Run(t.Context(), run.Cmd{Argv: []string{
			"qemu-img", "compare", "-f", driver, "-F", "raw", path, src.Raw,
		}}); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if format == "vhd" && info.Size() != src.Size+512 {
			t.Errorf("the VHD has %d bytes: Azure wants the disk's %d and a footer of 512", info.Size(), src.Size)
		}
	}
}

func TestFormatsAreReproducible(t *testing.T) {
	src := someDisk(t)
	for _, format := range Formats() {
		if format == "raw" {
			continue
		}
		var sums [2]string
		for i := range sums {
			sum, _, err := Digest(t.Context(), convert(t, format, src))
			if err != nil {
				t.Fatal(err)
			}
			sums[i] = sum
		}
		if sums[0] != sums[1] {
			t.Errorf("%s: the same disk gave %s and %s", format, sums[0], sums[1])
		}
	}
}

func TestOVA(t *testing.T) {
	src := someDisk(t)
	path := convert(t, "ova", src)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("%v was left beside the package", entries)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	archive := tar.NewReader(f)
	contents := map[string][]byte{}
	var order []string
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if contents[h.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
		order = append(order, h.Name)
	}
	if got, want := strings.Join(order, " "), "node.ovf node.mf node-disk1.vmdk"; got != want {
		t.Fatalf("members %s, want %s", got, want)
	}
	var want strings.Builder
	for _, name := range []string{"node.ovf", "node-disk1.vmdk"} {
		sum := sha256.Sum256(contents[name])
		fmt.Fprintf(&want, "SHA256(%s)= %s\n", name, hex.EncodeToString(sum[:]))
	}
	if got := string(contents["node.mf"]); got != want.String() {
		t.Errorf("manifest:\n%s\nwant:\n%s", got, want.String())
	}
	var ovf struct {
		File struct {
			Href string `xml:"href,attr"`
			Size int    `xml:"size,attr"`
		} `xml:"References>File"`
		Disk struct {
			Capacity int64 `xml:"capacity,attr"`
		} `xml:"DiskSection>Disk"`
	}
	if err := xml.Unmarshal(contents["node.ovf"], &ovf); err != nil {
		t.Fatal(err)
	}
	if ovf.File.Href != "node-disk1.vmdk" || ovf.File.Size != len(contents["node-disk1.vmdk"]) || ovf.Disk.Capacity != src.Size {
		t.Errorf("description: %+v", ovf)
	}
}

// TestDamagedMemberIsSeen breaks the disk inside a package: the check that each
// written package passes has to fail then.
func TestDamagedMemberIsSeen(t *testing.T) {
	src := someDisk(t)
	path := convert(t, "ova", src)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte("KDMV"))
	size := int64(len(data) - 1024 - at)
	if err := checkMember(t.Context(), run.Host{}, src, path, int64(at), size/512*512); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	// The grain directory's place, in the footer and in the header.
	for from := at; ; {
		i := bytes.Index(data[from:], []byte("KDMV"))
		if i < 0 {
			break
		}
		binary.LittleEndian.PutUint64(data[from+i+56:], 1<<40)
		from += i + 4
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := checkMember(t.Context(), run.Host{}, src, path, int64(at), size/512*512); err == nil {
		t.Error("a disk without a grain directory passed")
	}
}
