package machine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// kvmOptions have a device that opens, whatever the host has.
func kvmOptions(t *testing.T, mode string, accel Accel) Options {
	t.Helper()
	o := testOptions(t, mode)
	o.Accel, o.Arch, o.host = accel, AMD64, AMD64
	o.deadline = proofDeadline
	if mode == "kvm-hangs" {
		o.deadline = time.Second
	}
	o.kvm = filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(o.kvm, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestChooseAccel(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, mode string
		accel      Accel
		set        func(*Options)
		want       Accel
		says       string
	}{
		{"works, auto", "kvm-works", AccelAuto, nil, AccelKVM, "KVM booted a test guest"},
		{"works, asked for", "kvm-works", AccelKVM, nil, AccelKVM, "KVM booted a test guest"},
		{"hangs, auto", "kvm-hangs", AccelAuto, nil, AccelTCG, "the device opens, but a test guest did not boot within 1s"},
		{"hangs, asked for", "kvm-hangs", AccelKVM, nil, "", "KVM was asked for and does not work here: the device opens, but a test guest did not boot within 1s"},
		{"aborts", "kvm-aborts", AccelAuto, nil, AccelTCG, "failed to set MSR"},
		{"ends without proof", "kvm-returns", AccelAuto, nil, AccelTCG, "before the test guest had run"},
		{"no device", "kvm-works", AccelAuto, func(o *Options) { o.kvm += ".no" }, AccelTCG, "there is no "},
		{"no device, asked for", "kvm-works", AccelKVM, func(o *Options) { o.kvm += ".no" }, "", "there is no "},
		{"emulation asked for", "kvm-hangs", AccelTCG, nil, AccelTCG, "asked for"},
		{"an image for arm64", "kvm-works", AccelAuto, func(o *Options) { o.Arch = ARM64 }, AccelTCG, "the image is for arm64 and this host is amd64"},
		{"on arm64 an image for amd64", "kvm-works", AccelAuto, func(o *Options) { o.host = ARM64 }, AccelTCG, "the image is for amd64 and this host is arm64"},
		// The test guest is amd64's.
		{"on arm64", "kvm-aborts", AccelAuto, func(o *Options) { o.Arch, o.host = ARM64, ARM64 }, AccelKVM, "kvm opens; no test guest proves more of it on arm64"},
		{"on arm64, no device", "kvm-aborts", AccelAuto, func(o *Options) { o.Arch, o.host, o.kvm = ARM64, ARM64, o.kvm+".no" }, AccelTCG, "there is no "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := kvmOptions(t, test.mode, test.accel)
			if test.set != nil {
				test.set(&o)
			}
			got, reason, err := chooseAccel(context.Background(), o, o.qemu, "7.2")
			if err != nil {
				reason = err.Error()
				if exitcode.Of(err) != exitcode.Infrastructure {
					t.Errorf("exit code %d: want 75", exitcode.Of(err))
				}
			}
			if got != test.want || !strings.Contains(reason, test.says) {
				t.Errorf("got %q, %q; want %q, %q", got, reason, test.want, test.says)
			}
			if left, err := os.ReadDir(scratchRoot(o.Scratch)); err == nil && len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestStartWithKVMThatHangs(t *testing.T) {
	t.Parallel()
	o := kvmOptions(t, "kvm-hangs", AccelKVM)
	m, err := Start(context.Background(), o)
	if err == nil {
		_ = m.Kill()
		t.Fatal("the machine came up")
	}
	if !errors.Is(err, ErrNeverStarted) || exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(err.Error(), "KVM was asked for") {
		t.Errorf("exit code %d, %v", exitcode.Of(err), err)
	}
}

// There are hosts whose KVM runs the test guest and no kernel.
func TestStartWithKVMThatHalfWorks(t *testing.T) {
	t.Parallel()
	o := kvmOptions(t, "kvm-half-works", AccelAuto)
	m, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	report := m.Report()
	if err := m.Kill(); err != nil {
		t.Error(err)
	}
	if report.Accel != AccelTCG || !strings.Contains(report.AccelReason, "the accelerator kvm met an internal error") {
		t.Errorf("%s: %s", report.Accel, report.AccelReason)
	}
	// It is not tried again.
	if accel, reason, err := chooseAccel(context.Background(), o, o.qemu, report.QEMU); err != nil || accel != AccelTCG || !strings.Contains(reason, "no kernel of this image") {
		t.Errorf("the next start: %s, %s, %v", accel, reason, err)
	}
	// Whoever asks for KVM gets its error.
	o.Accel, o.CacheDir = AccelKVM, t.TempDir()
	if m, err := Start(context.Background(), o); err == nil {
		_ = m.Kill()
		t.Error("a machine came up")
	} else if exitcode.Of(err) != exitcode.Infrastructure || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("exit code %d, %v", exitcode.Of(err), err)
	}
}

// On arm64 nothing proved KVM: even a QEMU that does not start with it is made
// good by emulation, and KVM not tried again.
func TestStartWithKVMThatIsRefused(t *testing.T) {
	t.Parallel()
	o := kvmOptions(t, "kvm-refused", AccelAuto)
	o.Arch, o.host, o.root = ARM64, ARM64, t.TempDir()
	for _, path := range []string{aavmfCandidates[0].code, aavmfCandidates[0].vars} {
		path = filepath.Join(o.root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		m, err := Start(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		report := m.Report()
		if err := m.Kill(); err != nil {
			t.Error(err)
		}
		if report.Accel != AccelTCG || report.Arch != ARM64 || !strings.Contains(report.AccelReason, "booted no kernel of this image: QEMU ended with exit status 1: qemu: failed to initialize kvm") {
			t.Errorf("%s, %s: %s", report.Arch, report.Accel, report.AccelReason)
		}
	}
}

func TestProofIsKept(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	o := kvmOptions(t, "kvm-works", AccelAuto)
	first := proveKVM(ctx, o, o.qemu, "7.2")
	if !first.Works {
		t.Fatal(first.Reason)
	}
	// A QEMU that would hang is not run again, unless something changed.
	hangs := fakeBinary(t, "kvm-aborts")
	if err := os.Rename(hangs, o.qemu); err != nil {
		t.Fatal(err)
	}
	if again := proveKVM(ctx, o, o.qemu, "7.2"); again.Reason != first.Reason {
		t.Errorf("the proof was carried out again: %+v", again)
	}
	if other := proveKVM(ctx, o, o.qemu, "8.0"); other.Works {
		t.Error("another QEMU's proof was believed")
	}
	o.CacheDir = filepath.Join(t.TempDir(), "new")
	if other := proveKVM(ctx, o, o.qemu, "7.2"); other.Works {
		t.Error("a proof came from nowhere")
	}
}

func TestReadProof(t *testing.T) {
	t.Parallel()
	now := time.Now()
	path := filepath.Join(t.TempDir(), "proof")
	for _, test := range []struct {
		name string
		p    proof
		good bool
	}{
		{"fresh success", proof{true, "x", now}, true},
		{"old success", proof{true, "x", now.Add(-1000 * time.Hour)}, true},
		{"fresh failure", proof{false, "x", now}, true},
		{"old failure", proof{false, "x", now.Add(-failureTTL - time.Minute)}, false},
		{"no reason", proof{true, "", now}, false},
	} {
		writeProof(path, test.p)
		if _, good := readProof(path, now); good != test.good {
			t.Errorf("%s: got %v", test.name, good)
		}
	}
	if err := os.WriteFile(path, []byte(`{"works": tr`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, good := readProof(path, now); good {
		t.Error("a damaged proof was believed")
	}
}

func TestBootSectorIsADisk(t *testing.T) {
	t.Parallel()
	path := testImage(t)
	img, err := inspectImage(path)
	if err != nil || img.format != "raw" || img.size != proofDiskSize {
		t.Errorf("got %+v, %v", img, err)
	}
}
