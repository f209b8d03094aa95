package machine

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func qcow2Header(change func([]byte)) []byte {
	head := make([]byte, 1024)
	copy(head, qcow2Magic)
	binary.BigEndian.PutUint32(head[4:], 3)
	binary.BigEndian.PutUint64(head[24:], 10<<30)
	if change != nil {
		change(head)
	}
	return head
}

func TestInspectImage(t *testing.T) {
	t.Parallel()
	raw := make([]byte, 4096)
	raw[510], raw[511] = 0x55, 0xaa
	for _, test := range []struct {
		name    string
		content []byte
		format  string
		size    int64
		says    string
	}{
		{"qcow2", qcow2Header(nil), "qcow2", 10 << 30, ""},
		{"qcow2 version 2", qcow2Header(func(h []byte) { h[7] = 2; h[79] = 4 }), "qcow2", 10 << 30, ""},
		{"raw", raw, "raw", 4096, ""},
		{"raw, cut off", raw[:4000], "", 0, "cut off"},
		{"empty", nil, "", 0, "neither qcow2 nor a raw disk"},
		{"zeros", make([]byte, 4096), "", 0, "neither qcow2 nor a raw disk"},
		{"too short", []byte(qcow2Magic), "", 0, "neither qcow2 nor a raw disk"},
		{"qcow2 of the future", qcow2Header(func(h []byte) { h[7] = 4 }), "", 0, "version 4"},
		{"qcow2 with a backing file", qcow2Header(func(h []byte) { h[15] = 200 }), "", 0, "backing file"},
		{"qcow2 with external data", qcow2Header(func(h []byte) { h[79] = 4 }), "", 0, "external data file"},
		{"qcow2 without a size", qcow2Header(func(h []byte) { binary.BigEndian.PutUint64(h[24:], 0) }), "", 0, "damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(path, test.content, 0o444); err != nil {
				t.Fatal(err)
			}
			img, err := inspectImage(path)
			if test.says != "" {
				if err == nil || exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), path) {
					t.Errorf("got %+v, %v; want bad input that says %q", img, err, test.says)
				}
				return
			}
			if err != nil || img != (image{path, test.format, test.size}) {
				t.Errorf("got %+v, %v", img, err)
			}
		})
	}
	if _, err := inspectImage(t.TempDir()); err == nil || exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "expected a regular file") {
		t.Errorf("a directory: %v", err)
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, []byte("abc"), 0o444); err != nil {
		t.Fatal(err)
	}
	// FIPS 180-2, appendix B.1.
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got, err := Digest(context.Background(), path); got != want || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Digest(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := Digest(context.Background(), path+".no"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}
