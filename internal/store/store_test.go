package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func key(t *testing.T, parts ...any) string {
	t.Helper()
	k, err := Key(parts...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// writes returns a make function that writes content to name.
func writes(name, content string) func(context.Context, string) error {
	return func(_ context.Context, dir string) error {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644)
	}
}

func mustNotRun(t *testing.T) func(context.Context, string) error {
	return func(context.Context, string) error {
		t.Error("make ran although the entry is there")
		return nil
	}
}

// left lists what is below the store's sub directories.
func left(t *testing.T, s *Store, subs ...string) []string {
	t.Helper()
	names := []string{}
	for _, sub := range subs {
		found, err := os.ReadDir(filepath.Join(s.dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			names = append(names, f.Name())
		}
	}
	return names
}

func TestDefaultDir(t *testing.T) {
	for _, tt := range []struct {
		name, cache, xdg, home, want string
		code                         int
	}{
		{"own variable first", "/a", "/b", "/c", "/a", exitcode.OK},
		{"then XDG", "", "/b", "/c", "/b/nodeimage", exitcode.OK},
		{"a relative XDG directory is to be ignored", "", "b", "/c", "/c/.cache/nodeimage", exitcode.OK},
		{"then home", "", "", "/c", "/c/.cache/nodeimage", exitcode.OK},
		{"nothing", "", "", "", "", exitcode.Usage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(EnvDir, tt.cache)
			t.Setenv("XDG_CACHE_HOME", tt.xdg)
			t.Setenv("HOME", tt.home)
			got, err := DefaultDir()
			if got != tt.want || exitcode.Of(err) != tt.code {
				t.Errorf("DefaultDir() = %q, %v; want %q and exit code %d", got, err, tt.want, tt.code)
			}
		})
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	type a struct{ X int }
	type b struct{ X int }
	one := key(t, a{1}, map[string]int{"x": 1, "y": 2})
	if one != key(t, a{1}, map[string]int{"y": 2, "x": 1}) {
		t.Error("the same parts gave two keys")
	}
	seen := map[string]string{one: "base"}
	for name, k := range map[string]string{
		"value":    key(t, a{2}, map[string]int{"x": 1, "y": 2}),
		"type":     key(t, b{1}, map[string]int{"x": 1, "y": 2}),
		"order":    key(t, map[string]int{"x": 1, "y": 2}, a{1}),
		"grouping": key(t, []any{a{1}, map[string]int{"x": 1, "y": 2}}),
		"none":     key(t),
	} {
		if other, ok := seen[k]; ok {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[k] = name
		if checkKey(k) != nil {
			t.Errorf("%s: %q is not a key", name, k)
		}
	}
	if _, err := Key(func() {}); err == nil {
		t.Error("a function was accepted as a key part")
	}
}

func TestDoMakesOnce(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	k := key(t, "once")
	if _, ok := s.Lookup(k); ok {
		t.Fatal("Lookup found an entry in an empty store")
	}
	var made atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			dir, err := s.Do(t.Context(), k, func(ctx context.Context, dir string) error {
				made.Add(1)
				time.Sleep(20 * time.Millisecond)
				return writes("bin/tool", "hello")(ctx, dir)
			})
			if err != nil {
				t.Error(err)
				return
			}
			if text, err := os.ReadFile(filepath.Join(dir, "bin/tool")); string(text) != "hello" {
				t.Errorf("the entry holds %q, %v", text, err)
			}
		})
	}
	group.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times, expected once", made.Load())
	}
	if err := s.Verify(k); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{}, left(t, s, tmpDir)); diff != "" {
		t.Errorf("left in tmp (-want +got):\n%s", diff)
	}
}

func TestDoFailingMakeLeavesNothing(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	k := key(t, "fails")
	boom := errors.New("boom")
	_, err := s.Do(t.Context(), k, func(ctx context.Context, dir string) error {
		if err := writes("half", "half")(ctx, dir); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Errorf("Do returned %v, expected make's error", err)
	}
	if diff := cmp.Diff([]string{}, left(t, s, tmpDir, entriesDir)); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}
	if _, err := s.Do(t.Context(), k, writes("x", "x")); err != nil {
		t.Errorf("after a failure: %v", err)
	}
}

func TestDoCancelledWhileWaiting(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	k := key(t, "busy")
	lock, err := TryLockFile(s.lockPath(k))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := s.Do(ctx, k, mustNotRun(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Do returned %v, expected the context's error", err)
	}
}

func TestDoCancelledInMake(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	k := key(t, "cancelled")
	_, err := s.Do(ctx, k, func(ctx context.Context, dir string) error {
		cancel()
		return writes("x", "x")(ctx, dir) // a make that does not notice
	})
	if _, ok := s.Lookup(k); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("Do returned %v and the entry is there: %t", err, ok)
	}
}

func TestDamagedEntryIsMadeAgain(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(dir string) error{
		"truncated file": func(dir string) error { return os.Truncate(filepath.Join(dir, "f"), 2) },
		"missing file":   func(dir string) error { return os.Remove(filepath.Join(dir, "f")) },
		"missing index":  func(dir string) error { return os.Remove(filepath.Join(dir, "..", indexName)) },
		"index cut short": func(dir string) error {
			return os.Truncate(filepath.Join(dir, "..", indexName), 20)
		},
		"link for a file": func(dir string) error {
			f := filepath.Join(dir, "f")
			return errors.Join(os.Remove(f), os.Symlink("12345", f))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, t.TempDir())
			k := key(t, name)
			dir, err := s.Do(t.Context(), k, writes("f", "12345"))
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			if _, ok := s.Lookup(k); ok {
				t.Error("Lookup returned a damaged entry")
			}
			if s.Verify(k) == nil {
				t.Error("Verify passed a damaged entry")
			}
			dir, err = s.Do(t.Context(), k, writes("f", "abcde"))
			if err != nil {
				t.Fatal(err)
			}
			if text, _ := os.ReadFile(filepath.Join(dir, "f")); string(text) != "abcde" {
				t.Errorf("the entry holds %q after it was made again", text)
			}
			if diff := cmp.Diff([]string{}, left(t, s, tmpDir)); diff != "" {
				t.Errorf("left in tmp (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	k := key(t, "v")
	if err := s.Verify(k); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Verify of a missing entry: %v", err)
	}
	dir, err := s.Do(t.Context(), k, func(ctx context.Context, dir string) error {
		return errors.Join(writes("f", "12345")(ctx, dir), os.Symlink("f", filepath.Join(dir, "l")))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(k); err != nil {
		t.Errorf("a good entry: %v", err)
	}
	// The same size: only the sum shows it.
	if err := writes("f", "54321")(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(k); err == nil || !strings.Contains(err.Error(), "f has sha256") {
		t.Errorf("a changed file: %v", err)
	}
	if err := errors.Join(writes("f", "12345")(t.Context(), dir), writes("extra", "")(t.Context(), dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(k); err == nil || !strings.Contains(err.Error(), "extra does not belong") {
		t.Errorf("an extra file: %v", err)
	}
}

func TestEntryRefusesDevices(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	_, err := s.Do(t.Context(), key(t, "fifo"), func(_ context.Context, dir string) error {
		return mkfifo(filepath.Join(dir, "pipe"))
	})
	if err == nil || !strings.Contains(err.Error(), "pipe is p") {
		t.Errorf("a named pipe in an entry: %v", err)
	}
}

func TestBadKey(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for _, k := range []string{"", "../x", strings.Repeat("A", 64), strings.Repeat("a", 63)} {
		if _, err := s.Do(t.Context(), k, mustNotRun(t)); err == nil {
			t.Errorf("key %q was accepted", k)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  error
		code int
		want string
	}{
		{"full", &fs.PathError{Op: "write", Path: "/s/tmp/x", Err: errNoSpace}, exitcode.Infrastructure, "free some space"},
		{"full, said by a child", errors.New("go: write x: no space left on device"), exitcode.Infrastructure, "free some space"},
		{"quota", &fs.PathError{Op: "write", Path: "/s/tmp/x", Err: errQuota}, exitcode.Infrastructure, "free some space"},
		{"read-only", &fs.PathError{Op: "mkdir", Path: "/s/tmp/x", Err: errReadOnly}, exitcode.Usage, "set NODEIMAGE_CACHE"},
		{"no permission", &fs.PathError{Op: "mkdir", Path: "/s", Err: fs.ErrPermission}, exitcode.Usage, "set NODEIMAGE_CACHE"},
		{"someone else's permission", &fs.PathError{Op: "open", Path: "/etc/shadow", Err: fs.ErrPermission}, exitcode.Infrastructure, "/etc/shadow"},
	} {
		err := explain("/s", tt.err)
		if !errors.Is(err, tt.err) || exitcode.Of(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v with exit code %d, expected code %d and %q", tt.name, err, exitcode.Of(err), tt.code, tt.want)
		}
	}
}

func TestOpenOnFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(file, "store")); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), EnvDir) {
		t.Errorf("a store below a file: %v", err)
	}
}
