package machine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// testImage is a disk that passes for bootable.
func testImage(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, bootSector(), 0o444); err != nil {
		t.Fatal(err)
	}
	return path
}

// testOptions boot with a fake QEMU, which makes overlays with a fake
// qemu-img: the unit tests need neither.
func testOptions(t *testing.T, mode string) Options {
	t.Helper()
	return Options{
		Image: testImage(t), Dir: t.TempDir(), Scratch: shortTempDir(t), CacheDir: t.TempDir(),
		Accel: AccelTCG, qemu: fakeBinary(t, mode), qemuImg: "/bin/true", BootTimeout: 20 * time.Second,
	}
}

func TestStatesAreToldApart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		mode  string
		set   func(*Options)
		state error
		code  int
		says  []string
	}{
		{mode: "refuses", state: ErrNeverStarted, code: 75, says: []string{"exit status 1", "unsupported machine type"}},
		{mode: "dies", state: ErrNeverStarted, code: 75, says: []string{"exit status 1", "KVM: entry failed"}},
		{mode: "crashes", set: func(o *Options) { o.grace = time.Millisecond }, state: ErrGuestDied, code: 75, says: []string{"signal 6", "corrupted top size"}},
		{mode: "panics", state: ErrGuestDied, code: 1, says: []string{"kernel-panic", "unknown-block(0,0)", "---[ end Kernel panic"}},
		{mode: "slips", state: ErrGuestDied, code: 75, says: []string{"breakpoint that the kernel had taken out already", "Oops: int3"}},
		{mode: "breakpoint", state: ErrGuestDied, code: 1, says: []string{"kernel-panic", "Oops: int3"}},
		{mode: "pvpanic", state: ErrGuestDied, code: 1, says: []string{"its kernel panicked", "Booting from Hard Disk..."}},
		{mode: "powers-off", state: ErrGuestDied, code: 1, says: []string{"powered itself off", "reboot: Power down"}},
		{mode: "resets", state: ErrGuestDied, code: 1, says: []string{"reset itself 4 times"}},
		{mode: "resets-twice", set: func(o *Options) { o.BootTimeout = 2 * time.Second }, state: ErrGuestHang, code: 1, says: []string{"within 2s"}},
		{mode: "no-space", state: ErrGuestDied, code: 75, says: []string{"No space left on device", "free space in"}},
		{mode: "emergency", state: ErrGuestHang, code: 1, says: []string{"emergency-shell", "You are in emergency mode"}},
		{mode: "grub", state: ErrGuestHang, code: 1, says: []string{"boot-loader-stuck", "grub rescue>"}},
		{mode: "silent", set: func(o *Options) { o.BootTimeout = 2 * time.Second }, state: ErrGuestHang, code: 1, says: []string{"within 2s", "console has been silent", "SSH"}},
		{mode: "chatty", set: func(o *Options) { o.BootTimeout = 2 * time.Second }, state: ErrGuestHang, code: 75, says: []string{"within 2s", "console still grows", "still at it"}},
		{mode: "imposter", set: func(o *Options) { o.BootTimeout = 3 * time.Second }, state: ErrGuestHang, code: 1, says: []string{"host key mismatch"}},
	} {
		t.Run(test.mode, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t, test.mode)
			if test.set != nil {
				test.set(&o)
			}
			began := time.Now()
			m, err := Start(context.Background(), o)
			if err == nil {
				_ = m.Kill()
				t.Fatal("the machine came up")
			}
			limit := 15 * time.Second
			if test.mode == "slips" {
				limit *= 1 + slipRetries
			}
			if took := time.Since(began); took > limit {
				t.Errorf("it took %s to find out", took)
			}
			for _, state := range []error{ErrNeverStarted, ErrGuestDied, ErrGuestHang} {
				if got, want := errors.Is(err, state), state == test.state; got != want {
					t.Errorf("is it %q: got %v, want %v, of %v", state, got, want, err)
				}
			}
			if got := exitcode.Of(err); got != test.code {
				t.Errorf("exit code %d: want %d, of %v", got, test.code, err)
			}
			for _, want := range append(test.says, o.Dir) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q:\n%v", want, err)
				}
			}
			nothingLeft(t, o)
		})
	}
}

// nothingLeft checks that QEMU and the scratch directory are gone and that the
// evidence holds no private key.
func nothingLeft(t *testing.T, o Options) {
	t.Helper()
	if pid, err := fakePID(o.Dir); err != nil {
		t.Error(err)
	} else if runs(pid) {
		t.Errorf("QEMU, process %d, still runs", pid)
	}
	if left := scratchDirs(t, o.Scratch); len(left) != 0 {
		t.Errorf("left in the scratch directory: %v", left)
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(o.Dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "PRIVATE KEY") {
			t.Errorf("%s holds a private key", entry.Name())
		}
	}
}

func TestStartRefusesBadInput(t *testing.T) {
	t.Parallel()
	good := func(t *testing.T) Options { return testOptions(t, "answers") }
	for name, test := range map[string]struct {
		set  func(*testing.T, *Options)
		says []string
	}{
		"everything at once": {func(_ *testing.T, o *Options) {
			*o = Options{Firmware: "coreboot", Accel: "xen", CPUs: -1, MemoryMiB: 1, DiskSize: 3, Hostname: "A_b", User: "Root!", BootTimeout: -1, UserData: []string{"x"}}
		}, []string{"no image", "no evidence directory", `firmware "coreboot"`, `accelerator "xen"`, "-1 CPUs", "1 MiB", "disk size 3", `host name "A_b"`, `user "Root!"`, "boot timeout", "user data part 1"}},
		"BIOS for arm64":     {func(_ *testing.T, o *Options) { o.Arch, o.Firmware = ARM64, BIOS }, []string{"firmware bios: an arm64 image boots by UEFI alone: say --firmware uefi"}},
		"no such machine":    {func(_ *testing.T, o *Options) { o.Arch = "riscv64" }, []string{`architecture "riscv64": expected one of ["amd64" "arm64"]`}},
		"another's KVM":      {func(_ *testing.T, o *Options) { o.Arch, o.Accel, o.host = ARM64, AccelKVM, AMD64 }, []string{"KVM was asked for and cannot run the image: the image is for arm64 and this host is amd64", "--accel auto or tcg", "an arm64 host"}},
		"QEMU for arm64":     {func(_ *testing.T, o *Options) { o.Arch, o.qemu = ARM64, "no-such-qemu" }, []string{"no-such-qemu is not in PATH: install the package qemu-system-arm"}},
		"no such image":      {func(_ *testing.T, o *Options) { o.Image += ".no" }, []string{"no such file"}},
		"disk too small":     {func(_ *testing.T, o *Options) { o.DiskSize = 512 }, []string{"a disk of 512 bytes is smaller than the image's 1048576"}},
		"QEMU missing":       {func(_ *testing.T, o *Options) { o.qemu = "no-such-qemu" }, []string{"no-such-qemu is not in PATH: install the package qemu-system-x86"}},
		"qemu-img missing":   {func(_ *testing.T, o *Options) { o.qemuImg = "no-such-img" }, []string{"no-such-img is not in PATH: install the package qemu-utils"}},
		"evidence is a file": {func(_ *testing.T, o *Options) { o.Dir = o.Image }, []string{"evidence directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := good(t)
			test.set(t, &o)
			m, err := Start(context.Background(), o)
			if err == nil {
				_ = m.Kill()
				t.Fatal("the machine came up")
			}
			if got := exitcode.Of(err); got != exitcode.Usage {
				t.Errorf("exit code %d: want 2, of %v", got, err)
			}
			for _, want := range test.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestMachineLife(t *testing.T) {
	t.Parallel()
	o := testOptions(t, "answers")
	ctx := context.Background()
	m, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Kill() }()
	r := m.Report()
	if r.BootToSSH <= 0 || r.Accel != AccelTCG || r.QEMU != "7.2.22 (fake)" || r.Format != "raw" || !strings.Contains(r.Command, "-S") {
		t.Errorf("report %+v", r)
	}

	second := o
	if m2, err := Start(ctx, second); exitcode.Of(err) != exitcode.Usage || !strings.Contains(err.Error(), "another machine writes there") {
		if err == nil {
			_ = m2.Kill()
		}
		t.Errorf("a second machine with the same evidence directory: %v", err)
	}

	before, err := m.BootID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	after, err := m.BootID(ctx)
	if err != nil || before == after {
		t.Errorf("boot ID %q, before %q: %v", after, before, err)
	}
	files, err := m.CollectJournal(ctx)
	if err != nil {
		t.Error(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, filepath.Base(f))
	}
	if diff := cmp.Diff([]string{ConsoleLog, QEMULog, QMPLog, KernelLog, JournalText, JournalExport}, names); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
	if err := m.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
	if !errors.Is(m.Err(), errStopped) {
		t.Errorf("after Stop: %v", m.Err())
	}
	nothingLeft(t, o)
	if err := m.Stop(ctx); err != nil {
		t.Errorf("second stop: %v", err)
	}
	began := time.Now()
	if _, err := m.Run(ctx, run.Cmd{Argv: []string{"true"}}); !errors.Is(err, ErrConnection) || time.Since(began) > 5*time.Second {
		t.Errorf("a command after Stop: %v, after %s", err, time.Since(began))
	}
	console, err := os.ReadFile(filepath.Join(o.Dir, ConsoleLog))
	if err != nil || !strings.HasPrefix(string(console), "SeaBIOS (fake)") {
		t.Errorf("console %q, %v", console, err)
	}
	if findings, err := m.ScanConsole(); err != nil || len(findings) != 0 {
		t.Errorf("findings %v, %v", findings, err)
	}
}

func TestPanicEndsARunningCommand(t *testing.T) {
	t.Parallel()
	o := testOptions(t, "answers")
	ctx := context.Background()
	m, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Kill() }()
	running := make(chan error, 1)
	go func() {
		_, err := m.Run(ctx, run.Cmd{Argv: []string{"sleep", "60"}})
		running <- err
	}()
	time.Sleep(300 * time.Millisecond)
	if _, err := m.Run(ctx, run.Cmd{Argv: []string{"panic-now"}}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-running:
		if !errors.Is(err, ErrGuestDied) || !strings.Contains(err.Error(), "sysrq triggered crash") {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the command does not know that its machine has died")
	}
	files, err := m.CollectJournal(ctx)
	if err == nil || len(files) != 3 {
		t.Errorf("of a dead guest there are %v, error %v: expected its console, QEMU's log and the transcript, and an error", files, err)
	}
	if err := m.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
	if !errors.Is(m.Err(), ErrGuestDied) {
		t.Errorf("after Stop the reason is %v", m.Err())
	}
	nothingLeft(t, o)
}

func TestStartIsCancelled(t *testing.T) {
	t.Parallel()
	o := testOptions(t, "silent")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if _, err := fakePID(o.Dir); err == nil {
				break
			}
		}
		cancel()
	}()
	m, err := Start(ctx, o)
	if err == nil {
		_ = m.Kill()
		t.Fatal("the machine came up")
	}
	if !errors.Is(err, context.Canceled) || exitcode.Of(err) != exitcode.Infrastructure {
		t.Errorf("got %v", err)
	}
	nothingLeft(t, o)
}

func TestRunningMachineHidesNothing(t *testing.T) {
	t.Parallel()
	o := testOptions(t, "answers")
	m, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Kill() }()
	err = filepath.WalkDir(scratchRoot(o.Scratch), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && d.Type() != fs.ModeSocket && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v: others may read keys there", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if left := scratchDirs(t, o.Scratch); len(left) != 1 {
		t.Errorf("scratch: %v", left)
	}
}

// oopsInt3 is a kernel that dies of a breakpoint; before is the byte in memory
// where it was executed.
func oopsInt3(before string) string {
	return "[    2.050022] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI\r\n" +
		"[    2.050513] RIP: 0010:sched_clock_cpu+0x9/0x1d0\r\n" +
		"[    2.050736] Code: 00 e9 b8 fe ff ff f3 0f 1e fa 41 54 55 53 " + before + " <90> e8 b1 ef f0 ff 48 03\r\n" +
		"[    2.052104] Code: eb 07 0f 00 2d 85 84 2f 00 fb f4 <c3> cc cc cc cc 66 66\r\n" +
		"[    2.052900] Kernel panic - not syncing: Fatal exception in interrupt\r\n"
}

// A boot that the emulator broke is begun again, and the report says so.
func TestSlippedBootIsRepeated(t *testing.T) {
	t.Parallel()
	o := testOptions(t, "slips-once")
	m, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Kill() }()
	if r := m.Report(); !strings.Contains(r.AccelReason, "attempt 2") || !strings.Contains(r.AccelReason, "taken out already") {
		t.Errorf("the report does not say so: %q", r.AccelReason)
	}
	if text, err := os.ReadFile(filepath.Join(o.Dir, "attempt-1-"+ConsoleLog)); err != nil || !strings.Contains(string(text), "Oops: int3") {
		t.Errorf("the first attempt's console: %v, %q", err, text)
	}
}
