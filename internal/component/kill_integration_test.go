//go:build integration

package component

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/programtest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// TestMain makes this binary build pause when it is run again as a victim.
func TestMain(m *testing.M) {
	if dir := os.Getenv("COMPONENT_TEST_STORE"); dir != "" {
		fmt.Println("ended:", buildPause(dir))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func buildPause(dir string) error {
	p, err := profiles.Load("debian-13")
	if err != nil {
		return err
	}
	s, err := store.Open(dir)
	if err != nil {
		return err
	}
	m, err := New(p, s, Options{Logf: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }})
	if err != nil {
		return err
	}
	_, err = m.Component(context.Background(), "pause")
	return err
}

// slowCompiler returns a directory with a gcc that compiles for five minutes,
// in a process of its own as the real one does.
func slowCompiler(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	lib := filepath.Join(dir, "libc.a")
	script := "#!/bin/sh\ncase $1 in\n--version) echo gcc ;;\n-print-file-name=*) echo " + lib + " ;;\n*) sleep 300; exit 1 ;;\nesac\n"
	if err := errors.Join(os.WriteFile(lib, nil, 0o644), programtest.WriteFile(filepath.Join(dir, "gcc"), []byte(script))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// mentioning returns the processes whose command line or environment has text.
func mentioning(t *testing.T, text string) []string {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, dir := range found {
		if filepath.Base(dir) == fmt.Sprint(os.Getpid()) {
			continue
		}
		for _, file := range []string{"cmdline", "environ"} {
			content, err := os.ReadFile(filepath.Join(dir, file))
			// A process that ended in between is not one.
			if err == nil && bytes.Contains(content, []byte(text)) {
				comm, _ := os.ReadFile(filepath.Join(dir, "comm"))
				pids = append(pids, filepath.Base(dir)+" "+strings.TrimSpace(string(comm))+": "+strings.ReplaceAll(string(content), "\x00", " "))
				break
			}
		}
	}
	return pids
}

// SIGKILL while compiling leaves no process, and the next Open leaves no file.
func TestKilledWhileCompiling(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "COMPONENT_TEST_STORE="+dir, "PATH="+slowCompiler(t)+":"+os.Getenv("PATH"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "compiling") {
		if strings.HasPrefix(lines.Text(), "ended:") {
			t.Fatal(lines.Text())
		}
	}
	deadline := time.Now().Add(time.Minute)
	for !slices.ContainsFunc(mentioning(t, dir), func(p string) bool { return strings.Contains(p, " sleep: ") }) {
		if time.Now().After(deadline) {
			t.Fatal("no compiler was seen")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // reports the kill
	deadline = time.Now().Add(10 * time.Second)
	left := mentioning(t, dir)
	for ; len(left) > 0 && time.Now().Before(deadline); left = mentioning(t, dir) {
		time.Sleep(50 * time.Millisecond)
	}
	if len(left) > 0 {
		t.Errorf("processes outlived SIGKILL:\n%s", strings.Join(left, "\n"))
	}
	if tmp, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(tmp) != 1 {
		t.Errorf("%d directories in tmp, %v; expected the killed one, else nothing was being built", len(tmp), err)
	}
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"tmp", "entries"} {
		if found, err := os.ReadDir(filepath.Join(s.Dir(), sub)); err != nil || len(found) != 0 {
			t.Errorf("left in %s: %v, %v", sub, found, err)
		}
	}
}
