package target

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func TestDigest(t *testing.T) {
	t.Parallel()
	disk, err := os.ReadFile("testdata/disk.qcow2")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(disk)
	for name, tt := range map[string]struct{ path, want string }{
		"image":     {"testdata/disk.qcow2", hex.EncodeToString(sum[:])},
		"overlay":   {"testdata/overlay.qcow2", ""},
		"directory": {t.TempDir(), ""},
	} {
		if got, err := mustOpen(t, tt.path).Digest(t.Context()); err != nil || got != tt.want {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, tt.want)
		}
	}

	path := save(t, disk)
	tg := mustOpen(t, path)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tg.Digest(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// Another file at the path is not what was looked into.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := tg.Digest(t.Context()); err != nil || got != hex.EncodeToString(sum[:]) {
		t.Errorf("replaced file: got %q, %v; want the digest of the one that was opened", got, err)
	}

	path = save(t, disk)
	tg = mustOpen(t, path)
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := tg.Digest(t.Context()); exitcode.Of(err) != exitcode.Usage {
		t.Errorf("a file that was written to: %v, want bad input", err)
	}
}
