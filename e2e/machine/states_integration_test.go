//go:build integration

package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// Guests of one sector; each behaves as an image that is broken in one way.
var (
	halts = []byte{
		0xfa,       // cli
		0xf4,       // hlt
		0xeb, 0xfd, // jmp the line before
	}
	resets = []byte{
		0xb0, 0xfe, // mov al,0xfe
		0xe6, 0x64, // out 0x64,al          the keyboard controller's reset line
		0xf4,       // hlt
		0xeb, 0xfd, // jmp the line before
	}
	powersOff = []byte{
		0xba, 0x04, 0x06, // mov dx,0x604   the power management's control register
		0xb8, 0x00, 0x20, // mov ax,0x2000  sleep enable, soft off
		0xef,       // out dx,ax
		0xf4,       // hlt
		0xeb, 0xfd, // jmp the line before
	}
	says = []byte{
		0x31, 0xc0, // xor ax,ax
		0x8e, 0xd8, // mov ds,ax
		0xfc,             // cld
		0xbe, 0x40, 0x7c, // mov si,0x7c40  the data
		0xac,       // lodsb
		0x84, 0xc0, // test al,al
		0x74, 0x06, // jz hlt
		0xba, 0xf8, 0x03, // mov dx,0x3f8   the serial port
		0xee,       // out dx,al
		0xeb, 0xf5, // jmp lodsb
		0xf4,       // hlt
		0xeb, 0xfd, // jmp the line before
	}
	fills = []byte{
		0x31, 0xc0, // xor ax,ax
		0x8e, 0xd8, // mov ds,ax
		0xbe, 0x40, 0x7c, // mov si,0x7c40  the data: a disk address packet
		0xb8, 0x00, 0x43, // mov ax,0x4300  extended write
		0xb2, 0x80, // mov dl,0x80
		0xcd, 0x13, // int 0x13
		0x66, 0x81, 0x06, 0x48, 0x7c, 0x80, 0x00, 0x00, 0x00, // add dword [0x7c48],0x80  the next 64 KiB, and one further
		0xeb, 0xeb, // jmp mov si
	}
	diskAddressPacket = []byte{16, 0, 64, 0, 0x00, 0x7c, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0}
)

// guest writes a disk of size bytes whose first sector is code, with data at
// 0x7c40.
func guest(t *testing.T, code, data []byte, size int64) string {
	t.Helper()
	sector := make([]byte, sectorSize)
	copy(sector, code)
	copy(sector[0x40:], data)
	sector[510], sector[511] = 0x55, 0xaa
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, sector, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

func realOptions(t *testing.T, image string) Options {
	t.Helper()
	return Options{
		Image: image, Dir: t.TempDir(), Scratch: shortTempDir(t), CacheDir: t.TempDir(),
		Accel: AccelTCG, MemoryMiB: 256, BootTimeout: 90 * time.Second,
	}
}

// The tests with QEMU run one after the other: one machine at a time.

func TestRealBootSectorProvesTheAccelerator(t *testing.T) {
	o := realOptions(t, "").withDefaults()
	o.deadline = time.Minute
	qemu, version, err := findQEMU(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if reason := bootProofDisk(context.Background(), o, qemu, AccelTCG); reason != "" {
		t.Fatalf("the test guest does not even run under emulation: %s", reason)
	}
	// Whatever KVM is like here, the answer comes, and comes in time.
	o.Accel, o.deadline = AccelAuto, proofDeadline
	began := time.Now()
	accel, reason, err := chooseAccel(context.Background(), o, qemu, version)
	if err != nil || reason == "" || accel != AccelKVM && accel != AccelTCG {
		t.Errorf("got %q, %q, %v", accel, reason, err)
	}
	if took := time.Since(began); took > proofDeadline+2*proofGiveUp {
		t.Errorf("it took %s", took)
	}
	t.Logf("%s: %s", accel, reason)
}

func TestRealStates(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", empty, "64M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, test := range []struct {
		name  string
		image string
		set   func(*Options)
		state error
		code  int
		says  string
	}{
		{"nobody answers", guest(t, halts, nil, 1<<20), func(o *Options) { o.BootTimeout = 15 * time.Second }, ErrGuestHang, 1, "console has been silent"},
		{"panics", guest(t, says, []byte("\r\n[ 1.0] Kernel panic - not syncing: VFS\r\n\x00"), 1<<20), nil, ErrGuestDied, 1, "kernel-panic"},
		{"emergency shell", guest(t, says, []byte("\r\nYou are in emergency mode.\r\n\x00"), 1<<20), nil, ErrGuestHang, 1, "emergency-shell"},
		{"powers off", guest(t, powersOff, nil, 1<<20), nil, ErrGuestDied, 1, "powered itself off"},
		{"resets in a loop", guest(t, resets, nil, 1<<20), nil, ErrGuestDied, 1, "reset itself"},
		{"nothing to boot, BIOS", empty, nil, ErrGuestHang, 1, "no-bootable-device"},
		{"nothing to boot, UEFI", empty, func(o *Options) { o.Firmware = UEFI }, ErrGuestHang, 1, "no-bootable-device"},
		{"out of memory at once", guest(t, halts, nil, 1<<20), func(o *Options) { o.MemoryMiB = 1 << 40 }, ErrNeverStarted, 75, "exit status 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := realOptions(t, test.image)
			if test.set != nil {
				test.set(&o)
			}
			before, err := Digest(context.Background(), test.image)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Start(context.Background(), o)
			if err == nil {
				_ = m.Kill()
				t.Fatal("the machine came up")
			}
			if !errors.Is(err, test.state) || exitcode.Of(err) != test.code || !strings.Contains(err.Error(), test.says) {
				t.Errorf("exit code %d, %v", exitcode.Of(err), err)
			}
			if pids := qemuProcesses(t, o.Scratch); len(pids) != 0 {
				t.Errorf("processes left: %v", pids)
			}
			if left := scratchDirs(t, o.Scratch); len(left) != 0 {
				t.Errorf("left in the scratch directory: %v", left)
			}
			if after, err := Digest(context.Background(), test.image); after != before {
				t.Errorf("the image is another: %s, before %s, %v", after, before, err)
			}
		})
	}
}

func TestRealDiskFull(t *testing.T) {
	small := shortTempDir(t)
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=8m,mode=0700"); err != nil {
		t.Fatalf("mounting a small tmpfs (this test needs root): %v", err)
	}
	defer func() {
		if err := unix.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	}()
	o := realOptions(t, guest(t, fills, diskAddressPacket, 256<<20))
	o.Scratch = small
	m, err := Start(context.Background(), o)
	if err == nil {
		_ = m.Kill()
		t.Fatal("the machine came up")
	}
	if !errors.Is(err, ErrGuestDied) || exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(err.Error(), "free space in "+small) {
		t.Errorf("exit code %d, %v", exitcode.Of(err), err)
	}
	if left := scratchDirs(t, small); len(left) != 0 {
		t.Errorf("left in the scratch directory: %v", left)
	}
}

func TestRealQEMUDiesWithAKilledOwner(t *testing.T) {
	image, dir, scratch := guest(t, halts, nil, 1<<20), t.TempDir(), shortTempDir(t)
	owner, pid := startOwner(t, AMD64.hardware().qemu, qemuImgBinary, image, dir, scratch, func() (int, error) {
		pids := qemuProcesses(t, scratch)
		if len(pids) != 1 {
			return 0, fmt.Errorf("%d processes", len(pids))
		}
		return pids[0], nil
	})
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	awaitEnd(t, pid)
}

// qemuProcesses are those that have a file below scratch on their command
// line, and are QEMU by it.
func qemuProcesses(t *testing.T, scratch string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		args, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err == nil && strings.Contains(string(args), "path="+scratch) && runs(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
