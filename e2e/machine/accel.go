package machine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

const (
	// proofDeadline is many times what the boot sector takes where KVM works
	// (0.3 s).
	proofDeadline = 5 * time.Second

	// proofGiveUp is the wait for a QEMU that was killed and does not end: a
	// process that hangs in the kernel does not even die of SIGKILL.
	proofGiveUp = 3 * time.Second

	// failureTTL limits how long a failed proof is believed: a host so busy
	// that the deadline passed is not busy for ever.
	failureTTL = time.Hour
)

// proof is the outcome of booting the boot sector under KVM.
type proof struct {
	Works  bool      `json:"works"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// chooseAccel returns the accelerator to use and why. That the device opens
// and creates machines proves nothing; see [bootSector]. On arm64 there is no
// more to go by: what a KVM there cannot do, the start that fails shows, which
// is made again under TCG.
func chooseAccel(ctx context.Context, o Options, qemu, version string) (Accel, string, error) {
	if o.Accel == AccelTCG {
		return AccelTCG, "asked for", nil
	}
	if foreign := o.foreign(); foreign != "" {
		return AccelTCG, foreign, nil // asking for KVM was refused already
	}
	p := proveKVM(ctx, o, qemu, version)
	switch {
	case ctx.Err() != nil:
		return "", "", context.Cause(ctx)
	case p.Works:
		return AccelKVM, p.Reason, nil
	case o.Accel == AccelKVM:
		return "", "", exitcode.Transient(fmt.Errorf("KVM was asked for and does not work here: %s; use the accelerator %q or %q for emulation", p.Reason, AccelAuto, AccelTCG))
	default:
		return AccelTCG, "KVM does not work here: " + p.Reason, nil
	}
}

// proveKVM looks the proof up, or carries it out and keeps it.
func proveKVM(ctx context.Context, o Options, qemu, version string) proof {
	// Who may open the device is no property of the host's boot.
	device, err := os.OpenFile(o.kvm, os.O_RDWR, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return proof{Reason: fmt.Sprintf("there is no %s (no hardware virtualization, or its kernel module is not loaded)", o.kvm)}
	case errors.Is(err, os.ErrPermission):
		return proof{Reason: fmt.Sprintf("%v: this user needs access to the device, by the group kvm or a udev rule", err)}
	case err != nil:
		return proof{Reason: err.Error()}
	}
	_ = device.Close() // opened to see that it opens
	path := proofPath(o, qemu, version)
	if p, ok := readProof(path, time.Now()); ok {
		return p
	}
	if o.Arch != AMD64 {
		// Not kept: it says nothing that the next start does not see again.
		return proof{Works: true, Reason: fmt.Sprintf("%s opens; no test guest proves more of it on %s", o.kvm, o.Arch)}
	}
	p := bootUnderKVM(ctx, o, qemu)
	if ctx.Err() == nil && path != "" {
		writeProof(path, p)
	}
	return p
}

// disproveKVM keeps that KVM failed where the test guest had succeeded.
func disproveKVM(o Options, qemu, version, reason string) {
	if path := proofPath(o, qemu, version); path != "" {
		writeProof(path, proof{Reason: reason, At: time.Now()})
	}
}

// proofPath names a proof after everything that it depends on; empty when
// there is nowhere to keep it.
func proofPath(o Options, qemu, version string) string {
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || o.CacheDir == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{string(bootID), qemu, version, o.kvm, cpuModel(), string(bootSector()[:512])}, "\x00")))
	return filepath.Join(o.CacheDir, "kvm-proof-"+hex.EncodeToString(sum[:8])+".json")
}

// cpuModel returns the lines of /proc/cpuinfo that name the first processor.
func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(info), "\n\n")
	var model []string
	for line := range strings.Lines(first) {
		name, _, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(name) {
		case "vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags":
			model = append(model, line)
		}
	}
	return strings.Join(model, "")
}

// readProof returns a proof that is still good.
func readProof(path string, now time.Time) (proof, bool) {
	content, err := os.ReadFile(path)
	if err != nil {
		return proof{}, false
	}
	var p proof
	if err := json.Unmarshal(content, &p); err != nil || p.Reason == "" {
		return proof{}, false
	}
	if !p.Works && now.Sub(p.At) > failureTTL {
		return proof{}, false
	}
	return p, true
}

// writeProof keeps a proof. Where it cannot, the next start proves again.
func writeProof(path string, p proof) {
	content, err := json.Marshal(p)
	if err != nil {
		return
	}
	if os.MkdirAll(filepath.Dir(path), 0o755) == nil {
		_ = renameio.WriteFile(path, append(content, '\n'), 0o644)
	}
}

// proofArgv boots the disk with the processor that machines get under KVM,
// since it is that which a broken host refuses.
func proofArgv(accel Accel, disk string) []string {
	args := []string{
		"-no-user-config", "-nodefaults", "-display", "none", "-machine", "q35", "-m", "64",
		"-device", fmt.Sprintf("isa-debug-exit,iobase=%#x,iosize=0x04", proofPort),
		"-drive", "if=virtio,format=raw,readonly=on,file=" + quoteValue(disk),
	}
	if accel == AccelKVM {
		return append(args, "-accel", "kvm", "-cpu", "host")
	}
	return append(args, "-accel", "tcg", "-cpu", "max")
}

func bootUnderKVM(ctx context.Context, o Options, qemu string) proof {
	began := time.Now()
	reason := bootProofDisk(ctx, o, qemu, AccelKVM)
	if reason != "" {
		return proof{Reason: reason, At: began}
	}
	return proof{Works: true, Reason: fmt.Sprintf("KVM booted a test guest in %d ms", time.Since(began).Milliseconds()), At: began}
}

// bootProofDisk returns why the boot sector did not prove itself, or nothing.
func bootProofDisk(ctx context.Context, o Options, qemu string, accel Accel) string {
	s, err := newScratch(o.Scratch)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = s.remove() }() // the next start sweeps what is left
	disk := s.file("disk")
	if err := os.WriteFile(disk, bootSector(), 0o600); err != nil {
		return fmt.Sprintf("writing the test guest: %v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, o.deadline)
	defer cancel()
	type outcome struct {
		result run.Result
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		argv := append([]string{qemu}, proofArgv(accel, disk)...)
		result, err := run.Host{Grace: time.Second}.Run(ctx, run.Cmd{Argv: argv})
		done <- outcome{result, err}
	}()
	var end outcome
	select {
	case end = <-done:
	case <-time.After(o.deadline + proofGiveUp):
		return fmt.Sprintf("a test guest did not boot within %s, and its QEMU cannot be killed", o.deadline)
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Sprintf("the device opens, but a test guest did not boot within %s", o.deadline)
	case end.result.ExitCode == bootProof:
		return ""
	case end.err == nil:
		return "QEMU ended before the test guest had run"
	default:
		// Without the command line of run.Error: this is one line of a report.
		return fmt.Sprintf("QEMU did not run the test guest: %v: %s", errors.Unwrap(end.err),
			strings.Join(lastLines(end.result.Stderr, 3), " | "))
	}
}
