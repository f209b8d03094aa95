package machine

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/programtest"
)

// The test binary is QEMU, too, when these say so, and a process that owns a
// machine and gets killed.
const (
	fakeEnv  = "NODEIMAGE_FAKE_QEMU"
	ownerEnv = "NODEIMAGE_TEST_OWNER"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(fakeEnv); mode != "" {
		os.Exit(fakeQEMU(mode, os.Args[1:]))
	}
	if arg := os.Getenv(ownerEnv); arg != "" {
		os.Exit(ownMachine(arg))
	}
	os.Exit(m.Run())
}

// fakeBinary makes a program that behaves as the given mode of fakeQEMU.
func fakeBinary(t *testing.T, mode string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "qemu")
	script := fmt.Sprintf("#!/bin/sh\n%s=%s exec '%s' \"$@\"\n", fakeEnv, mode, self)
	if err := programtest.WriteFile(path, []byte(script)); err != nil {
		t.Fatal(err)
	}
	return path
}

// fakeQEMU takes QEMU's arguments and returns its exit status. It refuses a
// mode that it does not know.
func fakeQEMU(mode string, args []string) int {
	if slices.Contains(args, "--version") {
		fmt.Println("QEMU emulator version 7.2.22 (fake)")
		fmt.Println("Copyright")
		return 0
	}
	if strings.Contains(strings.Join(args, " "), "isa-debug-exit") {
		return fakeProof(mode)
	}
	fmt.Printf("pid %d\n", os.Getpid())
	if mode == "refuses" {
		fmt.Fprintln(os.Stderr, "qemu: -machine q35: unsupported machine type")
		return 1
	}
	if mode == "kvm-refused" {
		if slices.Contains(args, "kvm") {
			fmt.Fprintln(os.Stderr, "qemu: failed to initialize kvm: Operation not permitted")
			return 1
		}
		mode = "answers"
	}
	f := &fake{args: args, quit: make(chan int, 1)}
	f.console, _ = os.Create(f.chardev("console"))
	listener, err := net.Listen("unix", f.chardev("qmp"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 98
	}
	go f.monitor(listener, mode)
	return <-f.quit
}

func fakeProof(mode string) int {
	switch mode {
	case "kvm-works", "kvm-half-works":
		return bootProof
	case "kvm-hangs":
		// Not select {}: without cgo the runtime sees that nothing can ever wake it.
		time.Sleep(time.Hour)
	case "kvm-aborts":
		fmt.Fprintln(os.Stderr, "qemu: error: failed to set MSR 0x10a")
		return 134
	case "kvm-returns":
		return 0
	}
	fmt.Fprintf(os.Stderr, "fake: %s was not to prove KVM\n", mode)
	return 99
}

type fake struct {
	args    []string
	console *os.File
	quit    chan int
	mu      sync.Mutex
	conn    net.Conn
	sshd    *fakeSSHD
	boots   int
}

// option returns the comma-separated value that has all of the given parts.
func (f *fake) option(name string, parts ...string) string {
	for i, arg := range f.args[:len(f.args)-1] {
		if arg != name {
			continue
		}
		fields := strings.Split(f.args[i+1], ",")
		if !slices.ContainsFunc(parts, func(p string) bool { return !slices.Contains(fields, p) }) {
			return f.args[i+1]
		}
	}
	fmt.Fprintln(os.Stderr, "fake: no", name, parts)
	os.Exit(97)
	return ""
}

func (f *fake) chardev(id string) string {
	_, path, _ := strings.Cut(f.option("-chardev", "id="+id), "path=")
	return path
}

func (f *fake) send(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _ = fmt.Fprintf(f.conn, format+"\r\n", args...)
}

func (f *fake) monitor(listener net.Listener, mode string) {
	conn, err := listener.Accept()
	if err != nil {
		f.quit <- 96
		return
	}
	f.conn = conn
	f.send(`{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}`)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		var c struct {
			Execute   string            `json:"execute"`
			Arguments map[string]string `json:"arguments"`
			ID        int               `json:"id"`
		}
		_ = json.Unmarshal(lines.Bytes(), &c)
		switch c.Execute {
		case "qmp_capabilities", "system_powerdown":
			f.send(`{"return": {}, "id": %d}`, c.ID)
		case "human-monitor-command":
			port := 1
			if mode == "kvm-half-works" {
				mode = "answers"
				if slices.Contains(f.args, "kvm") {
					mode = "internal-error"
				}
			}
			if mode == "slips-once" {
				mode = "slips"
				if _, err := os.Stat(filepath.Join(filepath.Dir(f.console.Name()), "attempt-1-"+ConsoleLog)); err == nil {
					mode = "answers"
				}
			}
			if mode == "answers" || mode == "imposter" {
				if err := f.startSSHD(mode == "imposter"); err != nil {
					fmt.Fprintln(os.Stderr, "fake:", err)
					f.quit <- 95
					return
				}
				port = f.sshd.port()
			}
			text, _ := json.Marshal(fmt.Sprintf("Hub -1 (net):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"+
				"  TCP[HOST_FORWARD]  12       127.0.0.1 %d       10.0.2.15    22     0     0\r\n", port))
			f.send(`{"return": %s, "id": %d}`, text, c.ID)
		case "query-cpus-fast":
			f.send(`{"return": [{"cpu-index": 0, "thread-id": %d}], "id": %d}`, os.Getpid(), c.ID)
		case "query-status":
			f.send(`{"return": {"running": false, "status": "internal-error"}, "id": %d}`, c.ID)
		case "cont":
			f.send(`{"return": {}, "id": %d}`, c.ID)
			f.send(`{"event": "RESUME", "timestamp": {}}`)
			go f.run(mode)
		case "quit":
			f.send(`{"return": {}, "id": %d}`, c.ID)
			f.quit <- 0
		default:
			f.send(`{"error": {"class": "CommandNotFound", "desc": "the fake does not know %s"}, "id": %d}`, c.Execute, c.ID)
		}
	}
}

// run is the guest.
func (f *fake) run(mode string) {
	_, _ = fmt.Fprint(f.console, "SeaBIOS (fake)\r\nBooting from Hard Disk...\r\n")
	switch mode {
	case "answers", "imposter", "silent":
	case "dies":
		fmt.Fprintln(os.Stderr, "qemu: KVM: entry failed, hardware error 0x0")
		f.quit <- 1
	case "crashes":
		time.Sleep(300 * time.Millisecond)
		fmt.Fprintln(os.Stderr, "qemu: malloc(): corrupted top size")
		f.quit <- 134
	case "panics":
		_, _ = fmt.Fprint(f.console, "[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n[    1.1] ---[ end Kernel panic\r\n")
	case "slips":
		_, _ = fmt.Fprint(f.console, oopsInt3("66"))
	case "breakpoint":
		_, _ = fmt.Fprint(f.console, oopsInt3("cc"))
	case "pvpanic":
		f.send(`{"event": "GUEST_PANICKED", "data": {"action": "pause"}, "timestamp": {}}`)
	case "powers-off":
		_, _ = fmt.Fprint(f.console, "[    2.0] reboot: Power down\r\n")
		f.send(`{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}, "timestamp": {}}`)
		f.quit <- 0
	case "resets":
		for range resetLimit {
			f.send(`{"event": "RESET", "data": {"guest": true, "reason": "guest-reset"}, "timestamp": {}}`)
		}
	case "resets-twice":
		f.send(`{"event": "RESET", "data": {"guest": true, "reason": "guest-reset"}, "timestamp": {}}`)
		f.send(`{"event": "RESET", "data": {"guest": true, "reason": "guest-reset"}, "timestamp": {}}`)
	case "internal-error":
		fmt.Fprintln(os.Stderr, "KVM internal error. Suberror: 1")
		f.send(`{"event": "STOP", "timestamp": {}}`)
	case "no-space":
		f.send(`{"event": "BLOCK_IO_ERROR", "data": {"device": "root", "operation": "write", "action": "stop", "nospace": true, "reason": "No space left on device"}, "timestamp": {}}`)
	case "emergency":
		_, _ = fmt.Fprint(f.console, "You are in emergency mode. After logging in, type \"journalctl -xb\"\r\nPress Enter for maintenance\r\n(or press Control-D to continue): ")
	case "grub":
		_, _ = fmt.Fprint(f.console, "error: no such partition.\r\n\x1b[0m\x1b[37mgrub rescue> ")
	case "chatty":
		for i := 0; ; i++ {
			_, _ = fmt.Fprintf(f.console, "[%5d.0] still at it\r\n", i)
			time.Sleep(100 * time.Millisecond)
		}
	default:
		fmt.Fprintln(os.Stderr, "fake: unknown mode", mode)
		f.quit <- 94
	}
}

// startSSHD serves with the keys that the seed holds, as cloud-init would.
func (f *fake) startSSHD(imposter bool) error {
	if f.sshd != nil {
		return nil
	}
	_, path, _ := strings.Cut(f.option("-drive", "id=seed", "readonly=on"), "file=")
	files, err := readSeed(path)
	if err != nil {
		return err
	}
	var config struct {
		Keys       map[string]string `yaml:"ssh_keys"`
		Authorized []string          `yaml:"ssh_authorized_keys"`
	}
	if err := yaml.Unmarshal(files["user-data"], &config); err != nil {
		return err
	}
	hostKey, err := ssh.ParsePrivateKey([]byte(config.Keys["ed25519_private"]))
	if err != nil {
		return fmt.Errorf("host key: %w", err)
	}
	if imposter {
		other, err := newKeyPair("imposter")
		if err != nil {
			return err
		}
		hostKey = other.signer
	}
	authorized, _, _, _, err := ssh.ParseAuthorizedKey([]byte(config.Authorized[0]))
	if err != nil {
		return err
	}
	if f.sshd, err = newFakeSSHD(authorized, hostKey); err != nil {
		return err
	}
	f.sshd.exec = f.exec
	return nil
}

// exec is what of the guest's commands must not run on the host.
func (f *fake) exec(line string, out io.Writer) (int, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case strings.Contains(line, "boot_id"):
		_, _ = fmt.Fprintf(out, "boot-%d\n", f.boots)
	case line == "systemctl --no-block reboot":
		f.boots++
		go func() { time.Sleep(50 * time.Millisecond); f.sshd.hangUp() }()
	case line == "systemctl --no-block poweroff":
		go func() {
			time.Sleep(50 * time.Millisecond)
			f.sshd.hangUp()
			f.send(`{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}, "timestamp": {}}`)
			f.quit <- 0
		}()
	case line == "panic-now":
		_, _ = fmt.Fprint(f.console, "Kernel panic - not syncing: sysrq triggered crash\r\n")
		return 0, true
	case strings.HasPrefix(line, "journalctl "):
		_, _ = fmt.Fprintf(out, "said: %s\n", line)
	case strings.HasPrefix(line, "systemctl "), strings.HasPrefix(line, "sudo "):
		_, _ = fmt.Fprintln(out, "the fake does not know", line)
		return 93, true
	default:
		return 0, false
	}
	return 0, true
}
