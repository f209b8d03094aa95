//go:build integration

package memory

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const holdVariable = "NODEIMAGE_TEST_HOLD"

// TestMain is also the process that the test kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(holdVariable); dir != "" {
		held, err := Mount(dir, 1<<20)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(held.Path)
		select {}
	}
	os.Exit(m.Run())
}

func mounted(t *testing.T, dir string) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(table), dir)
}

func TestMount(t *testing.T) {
	dir := t.TempDir()
	held, err := Mount(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(held.Path, "file")
	if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 || mounted(t, dir) {
		t.Errorf("this host sees %v (%v), mounted: %v; want nothing of it", entries, err, mounted(t, dir))
	}
	out, err := exec.Command("nsenter", "--mount="+held.Namespace, "--", "cat", filepath.Join(held.Inside, "file")).CombinedOutput()
	if err != nil || string(out) != "x" {
		t.Errorf("in the namespace: %q, %v; want x", out, err)
	}
	if err := os.WriteFile(name, make([]byte, 2<<20), 0o644); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("writing more than its size: %v, want %v", err, unix.ENOSPC)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(held.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v, want %v", err, fs.ErrNotExist)
	}
}

func TestMountFails(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := Mount(missing, 1<<20); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("%v, want an error that names %s", err, missing)
	}
}

// TestKilled makes sure that a process that is killed leaves no mount and no
// process behind.
func TestKilled(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdVariable+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	path, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	path = strings.TrimSpace(path)
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for range 100 {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%s is there five seconds after its process was killed", path)
}
