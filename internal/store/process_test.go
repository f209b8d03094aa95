package store

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain makes this binary a user of a store when it is run again as one, so
// that locks are tried between real processes.
func TestMain(m *testing.M) {
	if role := os.Getenv("STORE_TEST_ROLE"); role != "" {
		if err := child(role, os.Getenv("STORE_TEST_DIR"), os.Getenv("STORE_TEST_KEY")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(role, dir, key string) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	switch role {
	case "do":
		_, err := s.Do(context.Background(), key, func(ctx context.Context, dir string) error {
			fmt.Println("made")
			time.Sleep(50 * time.Millisecond)
			return writes("f", "content")(ctx, dir)
		})
		return err
	case "hang-in-make":
		_, err := s.Do(context.Background(), key, func(ctx context.Context, dir string) error {
			if err := writes("half", "half")(ctx, dir); err != nil {
				return err
			}
			fmt.Println("half")
			time.Sleep(time.Hour)
			return nil
		})
		return err
	case "hang-in-scratch":
		dir, _, err := s.Scratch("hang")
		if err != nil {
			return err
		}
		if err := writes("half", "half")(context.Background(), dir); err != nil {
			return err
		}
		fmt.Println(dir)
		time.Sleep(time.Hour)
		return nil
	}
	return fmt.Errorf("unknown role %q", role)
}

func childCommand(t *testing.T, role, dir, key string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "STORE_TEST_ROLE="+role, "STORE_TEST_DIR="+dir, "STORE_TEST_KEY="+key)
	cmd.Stderr = os.Stderr
	return cmd
}

// startUntilLine starts a child and returns its first line of output.
func startUntilLine(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child said nothing: %v", err)
	}
	return strings.TrimSpace(line)
}

func TestProcessesMakeOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := key(t, "processes")
	type result struct {
		out []byte
		err error
	}
	results := make(chan result)
	for range 4 {
		cmd := childCommand(t, "do", dir, k)
		go func() {
			out, err := cmd.Output()
			results <- result{out, err}
		}()
	}
	made := 0
	for range 4 {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
		}
		made += strings.Count(string(r.out), "made")
	}
	if made != 1 {
		t.Errorf("four processes made the entry %d times, expected once", made)
	}
	if err := open(t, dir).Verify(k); err != nil {
		t.Error(err)
	}
}

func TestKilledInMake(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := key(t, "killed")
	cmd := childCommand(t, "hang-in-make", dir, k)
	startUntilLine(t, cmd)
	s := open(t, dir) // while the maker lives: nothing of its is swept
	if n := len(left(t, s, tmpDir)); n != 1 {
		t.Errorf("%d directories in tmp while the maker lives, expected 1", n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // reports the kill
	if _, ok := s.Lookup(k); ok {
		t.Error("a half-made entry is visible")
	}
	if n := len(left(t, s, tmpDir)); n != 1 {
		t.Fatalf("%d directories in tmp after the kill, expected the stale one", n)
	}
	open(t, dir)
	if diff := cmp.Diff([]string{}, left(t, s, tmpDir)); diff != "" {
		t.Errorf("left in tmp after Open (-want +got):\n%s", diff)
	}
	entry, err := s.Do(t.Context(), k, writes("f", "whole"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(entry, "half")); !os.IsNotExist(err) {
		t.Errorf("the killed maker's file is in the entry: %v", err)
	}
}

func TestKilledWithScratch(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	cmd := childCommand(t, "hang-in-scratch", s.dir, "")
	dir := startUntilLine(t, cmd)
	if err := s.sweepScratch(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the living owner's directory was swept: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // reports the kill
	_, release, err := s.Scratch("next")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the dead owner's directory is still there: %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}
