//go:build integration

package run_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// TestIsolatedChild is not a test of its own: TestIsolatedSurvivesNothing runs
// it as the process that is killed.
func TestIsolatedChild(t *testing.T) {
	dir := os.Getenv("ISOLATED_CHILD_DIR")
	if dir == "" {
		return
	}
	script := `mount -t tmpfs tmpfs "$1/mnt"; touch "$1/mnt/inside"; setsid sleep 4321 & touch "$1/ready"; sleep 4321`
	_, _ = run.Host{}.Run(context.Background(), run.Cmd{
		Argv: run.Isolated("sh", "-c", script, "sh", dir),
	})
}

func TestIsolatedSurvivesNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test needs root")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "mnt"), 0o755); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestIsolatedChild$")
	child.Env = append(os.Environ(), "ISOLATED_CHILD_DIR="+dir)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command is up", func() bool {
		_, err := os.Stat(filepath.Join(dir, "ready"))
		return err == nil
	})
	if n := countProcesses(t, dir); n == 0 {
		t.Fatal("the processes to be killed were not found, so their absence would prove nothing")
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	eventually(t, "no process is left", func() bool { return countProcesses(t, dir) == 0 })
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("a mount is left:\n%s", mounts)
	}
	if _, err := os.Stat(filepath.Join(dir, "mnt", "inside")); err == nil {
		t.Error("the mount was made in the caller's namespace")
	}
}

func TestIsolatedEndsOnSIGTERM(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	begin := time.Now()
	_, err := run.Host{}.Run(ctx, run.Cmd{Argv: run.Isolated("sleep", "1000")})
	if err == nil {
		t.Error("a cancelled command returned no error")
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v: SIGTERM did not reach the command", took)
	}
}

func TestIsolatedPassesTheExitCode(t *testing.T) {
	res, err := run.Host{}.Run(t.Context(), run.Cmd{Argv: run.Isolated("sh", "-c", "exit 7")})
	if err == nil || res.ExitCode != 7 {
		t.Errorf("got %d, %v, want 7", res.ExitCode, err)
	}
}

// countProcesses counts the processes that carry dir in their environment,
// which a command inherits and its arguments need not show.
func countProcesses(t *testing.T, dir string) int {
	t.Helper()
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range environs {
		if b, err := os.ReadFile(e); err == nil && strings.Contains(string(b), "ISOLATED_CHILD_DIR="+dir+"\x00") {
			n++
		}
	}
	return n
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 100 {
		if ok() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("waited too long until %s", what)
}
