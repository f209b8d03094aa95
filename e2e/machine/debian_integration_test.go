//go:build integration && slow

package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// debian is a small Debian made for these tests, so that they depend on
// nothing of what the suite is there to judge. It has no boot loader.
type debian struct {
	disk, kernel, initrd string
}

func buildDebian(t *testing.T) debian {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	command := func(argv ...string) {
		t.Helper()
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", run.Quote(argv), err, out)
		}
	}
	command("mmdebstrap", "--quiet", "--variant=minbase", "--mode=root",
		"--include=linux-image-amd64,systemd-sysv,systemd-resolved,udev,dbus,openssh-server,cloud-init,sudo,iproute2,e2fsprogs,initramfs-tools,zstd",
		`--customize-hook=echo "/dev/vda / ext4 defaults 0 1" >"$1/etc/fstab"`,
		`--customize-hook=rm -f "$1"/etc/ssh/ssh_host_*; : >"$1/etc/machine-id"`,
		`--customize-hook=systemctl --root="$1" enable systemd-networkd systemd-resolved`,
		"trixie", root)
	one := func(pattern string) string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: found %v, %v", pattern, found, err)
		}
		path := filepath.Join(dir, filepath.Base(found[0]))
		command("cp", found[0], path)
		return path
	}
	d := debian{disk: filepath.Join(dir, "disk.qcow2"), kernel: one("boot/vmlinuz-*"), initrd: one("boot/initrd.img-*")}
	raw := filepath.Join(dir, "disk.raw")
	command("mke2fs", "-q", "-t", "ext4", "-d", root, raw, "2G")
	command("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, d.disk)
	command("rm", "-rf", "--one-file-system", root, raw)
	if err := os.Chmod(d.disk, 0o444); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d debian) options(t *testing.T, cmdline string) Options {
	o := realOptions(t, d.disk)
	o.MemoryMiB, o.BootTimeout = 1024, 0
	o.kernel = directKernel{d.kernel, d.initrd, "console=ttyS0 " + cmdline}
	return o
}

func TestRealDebian(t *testing.T) {
	d := buildDebian(t)
	t.Run("no root file system", func(t *testing.T) {
		m, err := Start(context.Background(), d.options(t, "root=/dev/nowhere rootdelay=1"))
		if err == nil {
			_ = m.Kill()
			t.Fatal("the machine came up")
		}
		if !errors.Is(err, ErrGuestHang) || exitcode.Of(err) != exitcode.Failed || !strings.Contains(err.Error(), "initramfs-shell") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("kernel panic", func(t *testing.T) {
		o := d.options(t, "root=/dev/vda")
		o.kernel.initrd = "" // the disk's driver is a module in it
		m, err := Start(context.Background(), o)
		if err == nil {
			_ = m.Kill()
			t.Fatal("the machine came up")
		}
		if !errors.Is(err, ErrGuestDied) || exitcode.Of(err) != exitcode.Failed || !strings.Contains(err.Error(), "kernel-panic") || !strings.Contains(err.Error(), "Unable to mount root fs") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("life", func(t *testing.T) { debianLife(t, d) })
}

func debianLife(t *testing.T, d debian) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	before, err := Digest(ctx, d.disk)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := newKeyPair("admin")
	if err != nil {
		t.Fatal(err)
	}
	o := d.options(t, "root=/dev/vda rw")
	o.Firmware, o.Hostname, o.DiskSize = UEFI, "vm-1", 5<<30
	o.UserData = []string{
		"#cloud-config\nusers:\n- name: admin\n  shell: /bin/bash\n  sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n  ssh_authorized_keys: [" + strconv.Quote(admin.public) + "]\n" +
			"write_files:\n- path: /root/from-user-data\n  content: hello\n",
	}
	m, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Kill() }()
	t.Logf("boot to SSH: %s", m.Report().BootToSSH)

	output := func(argv ...string) string {
		t.Helper()
		result, err := m.Run(ctx, run.Cmd{Argv: argv})
		if err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(result.Stdout)
	}
	if state, _ := m.Run(ctx, run.Cmd{Argv: []string{"systemctl", "is-system-running", "--wait"}}); strings.TrimSpace(state.Stdout) != "running" {
		t.Errorf("systemd is %q: %s", state.Stdout, output("systemctl", "--failed", "--no-legend"))
	}
	for _, probe := range []struct {
		argv []string
		want string
	}{
		{[]string{"id", "-un"}, "root"},
		{[]string{"hostname"}, "vm-1"},
		{[]string{"cat", "/root/from-user-data"}, "hello"},
		{[]string{"blockdev", "--getsize64", "/dev/vda"}, strconv.Itoa(5 << 30)},
		{[]string{"cat", "/sys/block/vda/serial"}, rootSerial},
		{[]string{"sh", "-c", "ip -4 route show default | cut -d' ' -f1-3"}, "default via " + guestGateway},
		{[]string{"sh", "-c", "[ -d /sys/firmware/efi ] && echo uefi"}, "uefi"},
	} {
		if got := output(probe.argv...); got != probe.want {
			t.Errorf("%s: got %q, want %q", run.Quote(probe.argv), got, probe.want)
		}
	}
	egressDenied(ctx, t, m)
	manySessions(ctx, t, m)
	cancelKills(ctx, t, m)

	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	if err := m.WriteFile(ctx, "/root/a b/file", 0o600, bytes.NewReader(content)); err != nil {
		t.Error(err)
	}
	if got, err := m.ReadFile(ctx, "/root/a b/file"); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes read back of %d, %v", len(got), len(content), err)
	}
	attachByHand(ctx, t, m, admin)

	conn, err := m.Dial(ctx, "tcp", "127.0.0.1:22")
	if err != nil {
		t.Fatal(err)
	}
	banner := make([]byte, 4)
	if _, err := io.ReadFull(conn, banner); err != nil || string(banner) != "SSH-" {
		t.Errorf("got %q, %v", banner, err)
	}
	_ = conn.Close()

	times, err := m.BootTimes(ctx)
	if err != nil || times.Kernel <= 0 || times.Userspace <= 0 {
		t.Errorf("boot times %+v, %v", times, err)
	}
	t.Logf("boot times: %+v", times)

	began := time.Now()
	bootID, err := m.BootID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("reboot: %s", time.Since(began))
	if now, err := m.BootID(ctx); err != nil || now == bootID {
		t.Errorf("boot ID %s, before %s, %v", now, bootID, err)
	}
	files, err := m.CollectJournal(ctx)
	if err != nil || len(files) != 7 {
		t.Errorf("evidence %v, %v", files, err)
	}
	began = time.Now()
	if err := m.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
	t.Logf("stop: %s", time.Since(began))

	stream, err := os.ReadFile(filepath.Join(o.Dir, JournalStream))
	if err != nil {
		t.Fatal(err)
	}
	if boots := strings.Count(string(stream), " kernel: Linux version "); boots != 2 {
		t.Errorf("the streamed journal holds %d boots: want 2, from their first message", boots)
	}
	if !strings.Contains(string(stream), "poweroff.target") {
		t.Error("the streamed journal ends before the power-off")
	}
	if findings, err := m.ScanConsole(); err != nil || len(findings) != 0 {
		t.Errorf("the console of a good boot: %v, %v", findings, err)
	}
	if after, err := Digest(ctx, d.disk); after != before {
		t.Errorf("the image is another: %s, before %s, %v", after, before, err)
	}
	if pids := qemuProcesses(t, o.Scratch); len(pids) != 0 {
		t.Errorf("processes left: %v", pids)
	}
	if left := scratchDirs(t, o.Scratch); len(left) != 0 {
		t.Errorf("left in the scratch directory: %v", left)
	}
}

// egressDenied sees that the guest cannot reach a server on this host, which
// QEMU's user network shows at its gateway's address when it is not
// restricted.
func egressDenied(ctx context.Context, t *testing.T, m *Machine) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	reached := make(chan struct{})
	go func() {
		if conn, err := listener.Accept(); err == nil {
			close(reached)
			_ = conn.Close()
		}
	}()
	port := listener.Addr().(*net.TCPAddr).Port
	result, err := m.Run(ctx, run.Cmd{Argv: []string{"timeout", "10", "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", guestGateway, port)}})
	if err == nil || result.ExitCode <= 0 {
		t.Errorf("the guest connected to the host: %+v, %v", result, err)
	}
	select {
	case <-reached:
		t.Error("a connection of the guest's came to the host")
	default:
	}
}

// manySessions runs more commands at a time than sshd allows on a connection.
func manySessions(ctx context.Context, t *testing.T, m *Machine) {
	t.Helper()
	var wg sync.WaitGroup
	for range 2*sessionsPerConnection + 1 {
		wg.Go(func() {
			if _, err := m.Run(ctx, run.Cmd{Argv: []string{"sleep", "3"}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// cancelKills sees that a cancelled command is gone from the guest, too.
func cancelKills(ctx context.Context, t *testing.T, m *Machine) {
	t.Helper()
	cancelled, cancel := context.WithCancel(ctx)
	time.AfterFunc(3*time.Second, cancel)
	_, err := m.Run(cancelled, run.Cmd{Argv: []string{"sh", "-c", "trap '' TERM HUP; echo $$ >/run/victim; while :; do sleep 1; done"}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	result, err := m.Run(ctx, run.Cmd{Argv: []string{"sh", "-c", `p=$(cat /run/victim) && for i in 1 2 3 4 5; do kill -0 "$p" 2>/dev/null || exit 0; sleep 1; done; exit 1`}})
	if err != nil {
		t.Errorf("the cancelled command still runs: %+v, %v", result, err)
	}
}

// attachByHand reaches the machine as one that somebody else started, by a
// user who is not root.
func attachByHand(ctx context.Context, t *testing.T, m *Machine, admin keyPair) {
	t.Helper()
	dir := t.TempDir()
	hostKey, err := m.ReadFile(ctx, "/etc/ssh/ssh_host_ed25519_key.pub")
	if err != nil {
		t.Fatal(err)
	}
	address := m.Report().SSH
	a := AttachOptions{Target: "admin@" + address, KeyFile: filepath.Join(dir, "key"), KnownHosts: filepath.Join(dir, "known_hosts")}
	for path, content := range map[string]string{
		a.KeyFile:    admin.private,
		a.KnownHosts: knownhosts.Normalize(address) + " " + string(hostKey),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g, err := Attach(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Close() }()
	result, err := g.Run(ctx, run.Cmd{Argv: []string{"sh", "-c", `id -un; echo "$A"; pwd`}, Env: []string{"A=b c"}, Dir: "/root"})
	if err != nil || result.Stdout != "root\nb c\n/root\n" {
		t.Errorf("by sudo: %+v, %v", result, err)
	}
}
