package target

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestWalkIsBounded(t *testing.T) {
	t.Parallel()
	r := mustOpen(t, "testdata/disk.qcow2").Root()
	n := 0
	count := func(string, fs.DirEntry, error) error { n++; return nil }
	if err := Walk(context.Background(), r, ".", count); err != nil || n != 129 {
		t.Errorf("%d names (%v), want 129", n, err)
	}
	wantBad(t, walk(context.Background(), r, ".", 100, count), "more than 100 names")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Walk(ctx, r, ".", count); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// TestLongLinksAreBounded follows links whose targets go up and down.
func TestLongLinksAreBounded(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "d", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "ok", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("d/../", 600) + "d"},
		{Name: "again", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("d/../", 600) + "ok"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := mustOpen(t, save(t, b.Bytes())).Root()
	if got, err := r.Resolve("ok"); err != nil || got != "d" {
		t.Errorf("600 components: %q, %v", got, err)
	}
	if _, err := r.Resolve("again"); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("1200 components: %v, want ELOOP", err)
	}
}

// TestConcurrentReaders is for the race detector.
func TestConcurrentReaders(t *testing.T) {
	t.Parallel()
	for kind, r := range roots(t) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 5 {
					if b, err := r.ReadFile("etc/slow"); err != nil || string(b) != "node\n" {
						t.Errorf("%s: %q, %v", kind, b, err)
					}
					if _, err := r.ReadDir("usr/bin"); err != nil {
						t.Errorf("%s: %v", kind, err)
					}
				}
			})
		}
		// One open file, read by many.
		f, err := r.Open("etc/shadow")
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			wg.Go(func() {
				b := make([]byte, 6)
				if _, err := f.(io.ReaderAt).ReadAt(b, 0); err != nil || string(b) != "inside" {
					t.Errorf("%s: %q, %v", kind, b, err)
				}
			})
		}
		wg.Wait()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
