package machine

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ownMachine is a process that starts a machine and never ends it. Its
// argument is the QEMU, the image, the evidence directory, the scratch
// directory and the qemu-img.
func ownMachine(arg string) int {
	args := strings.Split(arg, "|")
	// A machine that nobody answers on is one that is killed while it boots.
	m, err := Start(context.Background(), Options{
		Image: args[1], Dir: args[2], Scratch: args[3], Accel: AccelTCG, qemu: args[0], qemuImg: args[4],
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("up", m.Report().Command)
	// Not select {}: without cgo the runtime sees that nothing can ever wake it.
	time.Sleep(time.Hour)
	return 1
}

// startOwner runs ownMachine in a process of its own and returns it with
// QEMU's process ID, once QEMU runs.
func startOwner(t *testing.T, qemu, qemuImg, image, dir, scratch string, qemuPID func() (int, error)) (*exec.Cmd, int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	owner := exec.Command(self)
	owner.Env = append(os.Environ(), ownerEnv+"="+strings.Join([]string{qemu, image, dir, scratch, qemuImg}, "|"))
	owner.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	owner.Stderr = os.Stderr
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = owner.Process.Kill(); _ = owner.Wait() })
	deadline := time.Now().Add(30 * time.Second)
	for {
		pid, err := qemuPID()
		if err == nil {
			return owner, pid
		}
		if time.Now().After(deadline) {
			t.Fatalf("QEMU did not come up: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// runs tells whether a process is there and no zombie.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for runs(pid) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d still runs 10 s later", pid)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// fakePID reads what the fake QEMU said first.
func fakePID(dir string) (int, error) {
	f, err := os.Open(filepath.Join(dir, QEMULog))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if pid, ok := strings.CutPrefix(lines.Text(), "pid "); ok {
			return strconv.Atoi(pid)
		}
	}
	return 0, fmt.Errorf("%s names no process", f.Name())
}

func TestQEMUDiesWithAKilledOwner(t *testing.T) {
	t.Parallel()
	dir, scratch := t.TempDir(), shortTempDir(t)
	owner, pid := startOwner(t, fakeBinary(t, "silent"), "/bin/true", testImage(t), dir, scratch, func() (int, error) { return fakePID(dir) })
	if !runs(pid) {
		t.Fatalf("QEMU, process %d, does not run: nothing to prove", pid)
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	awaitEnd(t, pid)

	left := scratchDirs(t, scratch)
	if len(left) != 1 {
		t.Fatalf("a killed owner was to leave its scratch directory, found %v", left)
	}
	s, err := newScratch(scratch)
	if err != nil {
		t.Fatal(err)
	}
	if got := scratchDirs(t, scratch); len(got) != 1 || got[0] != s.path {
		t.Errorf("the next start left %v: expected only its own %s", got, s.path)
	}
	if err := s.remove(); err != nil {
		t.Fatal(err)
	}
}
