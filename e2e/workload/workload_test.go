package workload

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func perl(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), "perl", append([]string{"workload.pl"}, args...)...)
}

// words returns the words of a marker file without their times.
func words(t *testing.T, marker string) []string {
	t.Helper()
	data, err := os.ReadFile(marker)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return markWords(string(data))
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("%s did not happen", what)
}

func start(t *testing.T, marker string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := perl(t, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	eventually(t, "START", func() bool { return len(words(t, marker)) > 0 })
	return cmd
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	default:
		return -1
	}
}

func TestTrapTerm(t *testing.T) {
	t.Parallel()
	marker := filepath.Join(t.TempDir(), "m")
	cmd := start(t, marker, "trap-term", marker)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := strings.Join(words(t, marker), " "); got != "START TERM EXIT" {
		t.Errorf("marker: %s", got)
	}
}

// SIGKILL leaves no TERM in the marker: so the marker can tell them apart.
func TestTrapTermKilled(t *testing.T) {
	t.Parallel()
	marker := filepath.Join(t.TempDir(), "m")
	cmd := start(t, marker, "trap-term", marker)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if got := strings.Join(words(t, marker), " "); got != "START" {
		t.Errorf("marker: %s", got)
	}
}

func TestIgnoreTerm(t *testing.T) {
	t.Parallel()
	marker := filepath.Join(t.TempDir(), "m")
	cmd := start(t, marker, "ignore-term", marker)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	eventually(t, "TERM", func() bool { return len(words(t, marker)) == 2 })
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("it is gone: %v", err)
	}
	_ = cmd.Process.Kill()
	if state, _ := cmd.Process.Wait(); state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("it ended as %s", state)
	}
}

func TestSpawn(t *testing.T) {
	t.Parallel()
	marker := filepath.Join(t.TempDir(), "m")
	cmd := perl(t, "spawn", marker, "2")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }() // its children outlive it by design
	eventually(t, "START", func() bool { return len(words(t, marker)) > 0 })
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if code := exitCode(cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := strings.Join(words(t, marker), " "); got != "START TERM" {
		t.Errorf("marker: %s", got)
	}
	if err := syscall.Kill(-cmd.Process.Pid, 0); err != nil {
		t.Errorf("no child is left for the runtime to clean up: %v", err)
	}
}

func TestShortModes(t *testing.T) {
	t.Parallel()
	marker := filepath.Join(t.TempDir(), "m")
	for _, tc := range []struct {
		args []string
		code int
	}{
		{[]string{"crash", "3"}, 3},
		{[]string{"done", marker}, 0},
		{[]string{"mark", marker, "PRESTOP"}, 0},
		{[]string{"sleep", "0"}, 0},
		{[]string{"no-such-mode"}, 255},
		{nil, 255},
	} {
		if code := exitCode(perl(t, tc.args...).Run()); code != tc.code {
			t.Errorf("%q: exit code %d, want %d", tc.args, code, tc.code)
		}
	}
	if got := strings.Join(words(t, marker), " "); got != "DONE PRESTOP" {
		t.Errorf("marker: %s", got)
	}
}

func TestServeAndDial(t *testing.T) {
	t.Parallel()
	cmd := perl(t, "serve", "0", "server-7")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	port := line[strings.LastIndex(line, " ")+1 : len(line)-1]
	for range 3 {
		answer, err := perl(t, "dial", "127.0.0.1", port, "10").Output()
		if err != nil || string(answer) != "server-7\n" {
			t.Errorf("answer %q, %v", answer, err)
		}
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	if code := exitCode(perl(t, "dial", "127.0.0.1", port, "2").Run()); code != 1 {
		t.Errorf("dialling nobody gives exit code %d, want 1", code)
	}
}

func TestDialNoAnswer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	// The kernel accepts, nobody answers: that is not a working Service.
	if code := exitCode(perl(t, "dial", "127.0.0.1", port, "1").Run()); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
}

// dns answers one name with one address and everything else with NXDOMAIN.
func dns(t *testing.T, name string, address [4]byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	var want []byte
	for label := range strings.SplitSeq(name, ".") {
		want = append(append(want, byte(len(label))), label...)
	}
	go func() {
		buf := make([]byte, 512)
		for {
			n, peer, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			query := bytes.Clone(buf[:n])
			if bytes.Contains(query, want) {
				binary.BigEndian.PutUint16(query[2:], 0x8180)
				binary.BigEndian.PutUint16(query[6:], 2)
				// An alias first, then the address, both with compressed names.
				query = append(query, 0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 5, 0, 2, 0xc0, 12)
				query = append(query, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4)
				query = append(query, address[:]...)
			} else {
				binary.BigEndian.PutUint16(query[2:], 0x8183)
			}
			_, _ = conn.WriteTo(query, peer)
		}
	}()
	_, port, _ := net.SplitHostPort(conn.LocalAddr().String())
	return port
}

func TestLookup(t *testing.T) {
	t.Parallel()
	port := dns(t, "server.e2e.svc.cluster.local", [4]byte{10, 96, 1, 2})
	out, err := perl(t, "lookup", "server.e2e.svc.cluster.local", "10", "127.0.0.1", port).Output()
	if err != nil || string(out) != "10.96.1.2\n" {
		t.Errorf("got %q, %v", out, err)
	}
	if code := exitCode(perl(t, "lookup", "other.e2e.svc.cluster.local", "5", "127.0.0.1", port).Run()); code != 2 {
		t.Errorf("an unknown name gives exit code %d, want 2", code)
	}
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	_, silentPort, _ := net.SplitHostPort(silent.LocalAddr().String())
	if code := exitCode(perl(t, "lookup", "server.e2e.svc.cluster.local", "1", "127.0.0.1", silentPort).Run()); code != 1 {
		t.Errorf("a silent server gives exit code %d, want 1", code)
	}
}

func TestSignalChild(t *testing.T) {
	t.Parallel()
	out, err := perl(t, "signal-child").CombinedOutput()
	if err != nil || string(out) != "signalled\n" {
		t.Errorf("%v, %q", err, out)
	}
}
