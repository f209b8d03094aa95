package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// putEntry makes an entry of size bytes that another process used age ago.
func putEntry(t *testing.T, dir, name string, size int, age time.Duration) string {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := Key(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Do(t.Context(), key, func(_ context.Context, dir string) error {
		return os.WriteFile(filepath.Join(dir, "f"), make([]byte, size), 0o644)
	}); err != nil {
		t.Fatal(err)
	}
	s.letGo()
	at := time.Now().Add(-age)
	if err := os.Chtimes(s.usePath(key), at, at); err != nil {
		t.Fatal(err)
	}
	return key
}

// letGo is what the end of a process does.
func (s *Store) letGo() {
	for _, f := range s.held {
		f.Close()
	}
	s.held = nil
}

func putBlob(t *testing.T, s *Store, content string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(content))
	name := hex.EncodeToString(sum[:])
	from := filepath.Join(t.TempDir(), "from")
	if err := os.WriteFile(from, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.AddBlobs(t.Context(), map[string]string{name: from}); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestGCRemovesTheOldestAndNothingInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	oldest := putEntry(t, dir, "oldest", 100, 3*time.Hour)
	used := putEntry(t, dir, "used", 100, 2*time.Hour)
	young := putEntry(t, dir, "young", 100, time.Minute)
	user, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	data, ok := user.Lookup(used)
	if !ok {
		t.Fatal("no entry")
	}
	back := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(user.usePath(used), back, back); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if dry, err := s.GC(t.Context(), GCOptions{MaxSize: 100, DryRun: true}); err != nil || dry.Removed != 2 || dry.Freed != 200 {
		t.Errorf("dry run: %+v, %v", dry, err)
	}
	if _, ok := s.Lookup(oldest); !ok {
		t.Error("a dry run removed something")
	}
	s.letGo()
	if err := os.Chtimes(s.usePath(oldest), back.Add(-time.Hour), back.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	got, err := s.GC(t.Context(), GCOptions{MaxSize: 200})
	if err != nil || got != (Collected{Removed: 1, Freed: 100, Left: 200}) {
		t.Errorf("limit of 200 bytes: %+v, %v", got, err)
	}
	got, err = s.GC(t.Context(), GCOptions{Unused: time.Hour})
	if err != nil || got.Removed != 0 || got.InUse != 1 {
		t.Errorf("unused for an hour: %+v, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(data, "f")); err != nil {
		t.Errorf("what another one uses was removed: %v", err)
	}
	user.letGo()
	if got, err = s.GC(t.Context(), GCOptions{Unused: time.Hour}); err != nil || got.Removed != 1 || got.Left != 100 {
		t.Errorf("after its user is gone: %+v, %v", got, err)
	}
	if _, ok := s.Lookup(young); !ok {
		t.Error("the young one is gone")
	}
	if left, _ := os.ReadDir(filepath.Join(dir, tmpDir)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestGCBesideBuilds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	done := make(chan error)
	go func() {
		s, err := Open(dir)
		for err == nil && ctx.Err() == nil {
			_, err = s.GC(ctx, GCOptions{MaxSize: 1})
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
		done <- err
	}()
	for range 4 {
		go func() {
			var err error
			for i := 0; err == nil && ctx.Err() == nil; i++ {
				err = useOnce(dir, string(rune('a'+i%3)))
			}
			done <- err
		}()
	}
	for range 5 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// useOnce is a process that makes or finds an entry and reads it.
func useOnce(dir, name string) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	defer s.letGo()
	key, err := Key(name)
	if err != nil {
		return err
	}
	data, err := s.Do(context.Background(), key, func(_ context.Context, dir string) error {
		return os.WriteFile(filepath.Join(dir, "f"), []byte(name), 0o644)
	})
	if err != nil {
		return err
	}
	time.Sleep(time.Millisecond)
	text, err := os.ReadFile(filepath.Join(data, "f"))
	if err == nil && string(text) != name {
		err = errors.New("found " + string(text) + " for " + name)
	}
	return err
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sum := putBlob(t, s, "content")
	path, ok := s.Blob(sum)
	if text, err := os.ReadFile(path); !ok || err != nil || string(text) != "content" {
		t.Errorf("%q, %v, %v", text, ok, err)
	}
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := strings.Repeat("0", 64)
	if err := s.AddBlobs(t.Context(), map[string]string{other: wrong}); err == nil || !strings.Contains(err.Error(), "expected "+other) {
		t.Errorf("a file with another sum: %v", err)
	}
	if _, ok := s.Blob(other); ok {
		t.Error("a file with another sum is in the store")
	}
	if left, _ := os.ReadDir(filepath.Join(s.dir, scratchDir)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	rot(t, path)
	if _, ok := s.Blob(sum); ok {
		t.Error("a rotten blob is given out")
	}
	if again := putBlob(t, s, "content"); again != sum {
		t.Fatal(again)
	}
	if _, ok := s.Blob(sum); !ok {
		t.Error("a rotten blob is not replaced")
	}
}

// rot changes a bit and neither the size nor the time.
func rot(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[0] ^= 1
	if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, text, 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyAllFindsAndRepairsRot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, bad := putEntry(t, dir, "good", 10, 0), putEntry(t, dir, "bad", 10, 0)
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	kept, fetched := putBlob(t, s, "kept"), putBlob(t, s, "fetched")
	s.letGo()
	rot(t, filepath.Join(dir, entriesDir, bad, dataDir, "f"))
	rot(t, s.blobPath(fetched))
	if _, ok := s.Lookup(bad); !ok {
		t.Fatal("the cheap check finds it, so this test shows nothing")
	}
	s.letGo()
	checked, rotten, err := s.VerifyAll(t.Context(), false, nil)
	if err != nil || checked != 4 || len(rotten) != 2 || rotten[0].Name != bad || rotten[1].Name != fetched || rotten[0].Repaired != "" {
		t.Fatalf("%d checked, %+v, %v", checked, rotten, err)
	}
	user, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	user.Lookup(bad)
	fetch := func(_ context.Context, sum string) error {
		if sum != fetched {
			t.Errorf("asked for %s", sum)
		}
		putBlob(t, s, "fetched")
		return nil
	}
	if _, rotten, err = s.VerifyAll(t.Context(), true, fetch); err != nil || len(rotten) != 2 || rotten[0].Repaired != "" ||
		!strings.Contains(rotten[0].Problem, "uses it") || rotten[1].Repaired != "fetched again" {
		t.Fatalf("%+v, %v", rotten, err)
	}
	user.letGo()
	if _, rotten, err = s.VerifyAll(t.Context(), true, nil); err != nil || len(rotten) != 1 || rotten[0].Repaired == "" {
		t.Fatalf("%+v, %v", rotten, err)
	}
	if checked, rotten, err = s.VerifyAll(t.Context(), true, nil); err != nil || checked != 3 || len(rotten) != 0 {
		t.Errorf("after the repair: %d, %+v, %v", checked, rotten, err)
	}
	if _, ok := s.Lookup(good); !ok {
		t.Error("a good entry is gone")
	}
	if _, ok := s.Blob(kept); !ok {
		t.Error("a good blob is gone")
	}
}
