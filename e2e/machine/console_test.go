package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestConsoleFollowsAGrowingFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "console.log")
	alarms := make(chan Finding, 10)
	c := followConsole(path, func(_ fault, f Finding) { alarms <- f })
	time.Sleep(2 * consolePoll) // the file is not there yet
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	write := func(s string) {
		if _, err := f.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	write("one\r\n[FAILED] Failed to st")
	time.Sleep(2 * consolePoll)
	write("art x.service\r\n")
	write("grub rescue> ")
	select {
	case got := <-alarms:
		if diff := cmp.Diff(Finding{"boot-loader-stuck", 3, "grub rescue>"}, got); diff != "" {
			t.Errorf("alarm (-want +got):\n%s", diff)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a prompt without a line break was not noticed")
	}
	write("ls\r\n")
	for i := range consoleTail {
		write(fmt.Sprintf("line %d\r\n", i))
	}
	write("Kernel panic - not syncing: x")
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	tail, findings, _ := c.last()
	want := []Finding{
		{"unit-failed", 2, "[FAILED] Failed to start x.service"},
		{"boot-loader-stuck", 3, "grub rescue> ls"},
		{"kernel-panic", 4 + consoleTail, "Kernel panic - not syncing: x"},
	}
	if diff := cmp.Diff(want, findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if len(tail) != consoleTail || tail[0] != "line 1" || tail[consoleTail-1] != "Kernel panic - not syncing: x" {
		t.Errorf("the last %d lines: %q", len(tail), tail)
	}
}
