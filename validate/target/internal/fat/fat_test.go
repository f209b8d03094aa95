package fat

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

var le = binary.LittleEndian

// load reads an image made by testdata/make.sh of the package above.
func load(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open("../../testdata/" + name + ".img.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(b []byte, p string) (string, error) {
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return "", err
	}
	e := f.Root()
	for _, c := range strings.Split(p, "/") {
		if e, err = e.Lookup(c); err != nil {
			return "", err
		}
	}
	if e.Dir {
		_, err := e.Entries()
		return "", err
	}
	r, err := e.Open()
	if err != nil {
		return "", err
	}
	got, err := io.ReadAll(io.NewSectionReader(r, 0, e.Size))
	return string(got), err
}

func longFile() string {
	var b strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&b, "%08d", i)
	}
	return b.String()
}

func TestRead(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"fat12", "fat16"} {
		b := load(t, name)
		for p, want := range map[string]string{
			"EFI/BOOT/BOOTX64.EFI":  "MZ",
			"efi/boot/bootx64.efi":  "MZ",
			"EFI/A long name.conf":  longFile(),
			"EFI/ALONGN~1.CON":      longFile(),
			"efi/a LONG name.CONF":  longFile(),
			"EFI/BOOT/../etc":       "",
			"EFI/BOOT/missing.file": "",
		} {
			got, err := read(b, p)
			if want == "" {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: %s: %v, want fs.ErrNotExist", name, p, err)
				}
				continue
			}
			if err != nil || got != want {
				t.Errorf("%s: %s: %d bytes (%v), want %d", name, p, len(got), err, len(want))
			}
		}
	}
}

// entry finds a directory entry by its short name.
func entry(t testing.TB, b []byte, short string) []byte {
	t.Helper()
	at := bytes.Index(b, []byte(short))
	if at < 0 {
		t.Fatalf("no %q in the image", short)
	}
	return b[at:]
}

func TestDamage(t *testing.T) {
	t.Parallel()
	const file, dir = "EFI/A long name.conf", "EFI/BOOT"
	tests := map[string]struct {
		path   string
		change func(testing.TB, []byte)
		want   string
	}{
		"no boot signature":     {file, func(_ testing.TB, b []byte) { b[510] = 0 }, "0x55aa"},
		"sector of 3 bytes":     {file, func(_ testing.TB, b []byte) { le.PutUint16(b[11:], 3) }, "sectors of 3 bytes"},
		"cluster of 0 sectors":  {file, func(_ testing.TB, b []byte) { b[13] = 0 }, "clusters of 0"},
		"no tables":             {file, func(_ testing.TB, b []byte) { b[16] = 0 }, "0 tables"},
		"larger than volume":    {file, func(_ testing.TB, b []byte) { le.PutUint16(b[19:], 0); le.PutUint32(b[32:], 1<<31) }, "truncated"},
		"no room for data":      {file, func(_ testing.TB, b []byte) { le.PutUint16(b[22:], 60000) }, "no room for data"},
		"table too short":       {file, func(_ testing.TB, b []byte) { le.PutUint16(b[22:], 1); le.PutUint16(b[17:], 16) }, "too short"},
		"no root directory":     {file, func(_ testing.TB, b []byte) { le.PutUint16(b[17:], 0) }, "fit no FAT"},
		"chain outside":         {file, func(t testing.TB, b []byte) { le.PutUint16(entry(t, b, "ALONGN~1CON")[26:], 60000) }, "cluster 60000"},
		"chain that ends early": {file, func(t testing.TB, b []byte) { le.PutUint32(entry(t, b, "ALONGN~1CON")[28:], 1<<20) }, "1048576 bytes needs 2048"},
		"directory loop":        {dir, func(t testing.TB, b []byte) { le.PutUint16(entry(t, b, "BOOT       ")[26:], 2) }, "form no tree"},
		"name with a slash":     {dir, func(t testing.TB, b []byte) { entry(t, b, "BOOT       ")[1] = '/' }, `name "B/OT"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := load(t, "fat12")
			if _, err := read(b, tt.path); err != nil {
				t.Fatalf("before the damage: %v", err)
			}
			tt.change(t, b)
			_, err := read(b, tt.path)
			if err == nil || !strings.Contains(err.Error(), tt.want) || exitcode.Of(err) != exitcode.Usage {
				t.Errorf("got error %v with exit code %d, want one that says %q with 2", err, exitcode.Of(err), tt.want)
			}
		})
	}
}

// TestChainLoop gives a directory a chain of clusters that never ends.
func TestChainLoop(t *testing.T) {
	t.Parallel()
	b := load(t, "fat16")
	reserved := int(le.Uint16(b[14:])) * int(le.Uint16(b[11:]))
	first := le.Uint16(entry(t, b, "EFI        ")[26:])
	le.PutUint16(b[reserved+2*int(first):], first)
	_, err := read(b, "EFI/BOOT")
	if err == nil || !strings.Contains(err.Error(), "or a loop") || exitcode.Of(err) != exitcode.Usage {
		t.Errorf("got %v, want an error about a loop", err)
	}
}

// FuzzFAT changes good images in the places that the input names: 4 bytes of
// position, one of length, and the bytes.
func FuzzFAT(f *testing.F) {
	bases := [][]byte{load(f, "fat12"), load(f, "fat16")}
	f.Fuzz(func(t *testing.T, which byte, patch []byte) {
		b := bytes.Clone(bases[int(which)%len(bases)])
		for len(patch) > 5 {
			at, n := int(le.Uint32(patch))%len(b), int(patch[4])
			n = copy(b[at:], patch[5:min(len(patch), 5+n)])
			patch = patch[5+n:]
			if n == 0 {
				break
			}
		}
		fsys, err := Open(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			budget := 500
			err = walkAll(fsys.Root(), &budget)
		}
		if err != nil && exitcode.Of(err) != exitcode.Usage {
			t.Fatalf("exit code %d, want 2: %v", exitcode.Of(err), err)
		}
	})
}

func walkAll(e *Entry, budget *int) error {
	list, err := e.Entries()
	errs := []error{err}
	for _, c := range list {
		if *budget--; *budget < 0 {
			break
		}
		if c.Dir {
			errs = append(errs, walkAll(c, budget))
			continue
		}
		r, err := c.Open()
		errs = append(errs, err)
		if err == nil {
			if _, err := r.ReadAt(make([]byte, 5000), max(0, c.Size-2500)); !errors.Is(err, io.EOF) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
