package machine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// Evidence files in Options.Dir.
const (
	ConsoleLog    = "console.log"        // the serial console, from the first byte
	QEMULog       = "qemu.log"           // QEMU's own messages, its command line first
	QMPLog        = "qmp.log"            // the QMP transcript
	JournalStream = "journal-stream.log" // the journal as the guest streamed it
	JournalText   = "journal.log"        // the running boot as text
	JournalExport = "journal.export"     // all boots in journalctl's export format
	KernelLog     = "kernel.log"         // the running boot's kernel messages
)

// Machine is a virtual machine that this process started. It is a [Node]
// until it is stopped or dies.
type Machine struct {
	*Guest

	options Options
	report  Report
	scratch *scratch
	process *process
	monitor *monitor
	console *console
	logs    []*os.File // closed at the end

	gone     chan struct{}
	goneOnce sync.Once
	goneErr  error // set before gone is closed

	mu     sync.Mutex
	events eventState
	shares shares

	endOnce sync.Once
	endErr  error
}

// Report says what was booted, how and how fast; it goes into the suite's
// report as it is.
type Report struct {
	Image       string        `json:"image"`
	Format      string        `json:"format"`
	Arch        Arch          `json:"arch,omitempty"` // of the image; empty for a host
	Firmware    Firmware      `json:"firmware"`
	Accel       Accel         `json:"accel"`
	AccelReason string        `json:"accelReason"`
	QEMU        string        `json:"qemu"` // its version
	Command     string        `json:"command"`
	CPUs        int           `json:"cpus"`
	MemoryMiB   int           `json:"memoryMiB"`
	SSH         string        `json:"ssh"` // host:port, on this host only
	Started     time.Time     `json:"started"`
	BootToSSH   time.Duration `json:"bootToSSH"` // nanoseconds
}

// Report returns what is known of the machine; it stays valid after Stop.
func (m *Machine) Report() Report { return m.report }

// Dir returns the evidence directory.
func (m *Machine) Dir() string { return m.options.Dir }

// Gone is closed when the machine is no more: stopped, killed or dead.
func (m *Machine) Gone() <-chan struct{} { return m.gone }

// Err returns why the machine is gone, nil while it is not. A machine that
// was stopped on purpose gives an error, too: who still uses it has to know.
func (m *Machine) Err() error {
	select {
	case <-m.gone:
		return m.goneErr
	default:
		return nil
	}
}

// Start boots the image and returns when the guest answers over SSH. Whatever
// it returns, the image is as it was; with an error nothing is left running
// and nothing is left but the evidence. The machine outlives ctx and must be
// ended by [Machine.Stop] or [Machine.Kill]; it dies with this process.
func Start(ctx context.Context, o Options) (*Machine, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	img, err := inspectImage(o.Image)
	if err != nil {
		return nil, err
	}
	if o.DiskSize != 0 && o.DiskSize < img.size {
		return nil, exitcode.BadInput(fmt.Errorf("a disk of %d bytes is smaller than the image's %d", o.DiskSize, img.size))
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("evidence directory: %w", err))
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, exitcode.BadInput(fmt.Errorf("making the evidence directory: %w", err))
	}
	qemu, version, err := findQEMU(ctx, o)
	if err != nil {
		return nil, err
	}
	firmware, err := findFirmware(o.root, o.Arch, o.Firmware)
	if err != nil {
		return nil, neverStarted(o.Dir, "the host lacks a program", err)
	}
	accel, reason, err := chooseAccel(ctx, o, qemu, version)
	if err != nil {
		return nil, neverStarted(o.Dir, "no accelerator", err)
	}
	try := func(accel Accel, reason string) (*Machine, error) {
		m := &Machine{options: o, gone: make(chan struct{}), report: Report{
			Image: img.path, Format: img.format, Arch: o.Arch, Firmware: o.Firmware, Accel: accel, AccelReason: reason,
			QEMU: version, CPUs: o.CPUs, MemoryMiB: o.MemoryMiB,
		}}
		err := m.boot(ctx, qemu, img, firmware)
		if err != nil {
			m.die(err)
			if endErr := m.end(); endErr != nil {
				err = exitcode.With(exitcode.Of(err), errors.Join(err, endErr))
			}
		}
		return m, err
	}
	m, err := try(accel, reason)
	for n := 1; n <= slipRetries && errors.Is(err, errSlipped) && ctx.Err() == nil; n++ {
		if renameErr := keepConsole(o.Dir, n); renameErr != nil {
			return nil, errors.Join(err, renameErr)
		}
		m, err = try(accel, fmt.Sprintf("%s; attempt %d, since in the one before %v", reason, n+1, errSlipped))
	}
	// A guest that never came as far as its kernel may be the image's fault or
	// that of a KVM that does what proved it and no more; emulation tells.
	if err != nil && o.Accel == AccelAuto && accel == AccelKVM && ctx.Err() == nil && m.process != nil && !m.sawKernel() {
		reason := fmt.Sprintf("%s, and it booted no kernel of this image: %s", reason, shortCause(err))
		var underTCG error
		if m, underTCG = try(AccelTCG, reason); underTCG == nil {
			disproveKVM(o, qemu, version, reason)
			return m, nil
		}
		err = underTCG
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// sawKernel tells whether the guest came as far as its kernel.
func (m *Machine) sawKernel() bool { return m.console != nil && m.console.sawKernel() }

// slipRetries is how often a boot that the emulator broke is begun again.
const slipRetries = 2

// keepConsole keeps the console of an attempt that is made again.
func keepConsole(dir string, attempt int) error {
	err := os.Rename(filepath.Join(dir, ConsoleLog), filepath.Join(dir, fmt.Sprintf("attempt-%d-%s", attempt, ConsoleLog)))
	if err != nil {
		return fmt.Errorf("keeping evidence: %w", err)
	}
	return nil
}

// shortCause is the one line of a machine's error that goes into a report.
func shortCause(err error) string {
	var state *StateError
	if errors.As(err, &state) {
		return state.Cause
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// neverStarted makes the error of a machine that did not come to run. It keeps
// the exit code of err; the host's failures are worth a retry by default.
func neverStarted(dir, cause string, err error) error {
	return exitcode.With(exitcode.Of(err), &StateError{State: ErrNeverStarted, Cause: cause, Dir: dir, Err: err})
}

// findQEMU returns QEMU's path and version, and sees that qemu-img is there.
func findQEMU(ctx context.Context, o Options) (path, version string, err error) {
	missing := func(program, packages string) error {
		return neverStarted(o.Dir, "the host lacks a program", exitcode.BadInput(fmt.Errorf(
			"%s is not in PATH: install the package %s", program, packages)))
	}
	if path, err = exec.LookPath(o.qemu); err != nil {
		return "", "", missing(o.qemu, o.Arch.hardware().qemuPackages)
	}
	if _, err := exec.LookPath(o.qemuImg); err != nil {
		return "", "", missing(o.qemuImg, "qemu-utils (Debian, Ubuntu) or qemu-img (Fedora)")
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	result, err := run.Host{Grace: time.Second}.Run(ctx, run.Cmd{Argv: []string{path, "--version"}})
	if err != nil {
		return "", "", neverStarted(o.Dir, "QEMU does not even tell its version", err)
	}
	version, _, _ = strings.Cut(result.Stdout, "\n")
	return path, strings.TrimPrefix(version, "QEMU emulator version "), nil
}

// boot does everything between an inspected image and an answering guest.
// What it leaves when it fails, end removes.
func (m *Machine) boot(ctx context.Context, qemu string, img image, firmware firmwareFiles) (err error) {
	o := m.options
	// Held until the end: two machines that write one console prove nothing.
	lock, err := lockDir(o.Dir, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return exitcode.BadInput(fmt.Errorf("evidence directory %s: another machine writes there: choose one for each", o.Dir))
	}
	if err != nil {
		return neverStarted(o.Dir, "no place for evidence", err)
	}
	m.logs = append(m.logs, lock)
	if m.scratch, err = newScratch(o.Scratch); err != nil {
		return neverStarted(o.Dir, "no scratch directory", err)
	}
	userKey, err := newKeyPair("nodeimage-suite")
	if err != nil {
		return neverStarted(o.Dir, "no keys", err)
	}
	hostKey, err := newKeyPair(o.Hostname)
	if err != nil {
		return neverStarted(o.Dir, "no keys", err)
	}
	v, err := m.prepare(ctx, img, firmware, userKey, hostKey)
	if err != nil {
		return neverStarted(o.Dir, "the host could not prepare it", err)
	}
	address, err := m.launch(ctx, qemu, v)
	if err != nil {
		return err
	}
	m.Guest = newGuest(o.Hostname, o.User, o.Dir, ssh.PublicKeys(userKey.signer), ssh.FixedHostKey(hostKey.signer.PublicKey()),
		[]string{ssh.KeyAlgoED25519}, func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		})
	m.Guest.gone, m.Guest.why = m.gone, m.Err
	return m.awaitSSH(ctx)
}

// prepare fills the scratch directory and describes the virtual machine.
func (m *Machine) prepare(ctx context.Context, img image, firmware firmwareFiles, userKey, hostKey keyPair) (vm, error) {
	o := m.options
	var mac [3]byte
	var uuid, instance [16]byte
	for _, b := range [][]byte{mac[:], uuid[:], instance[:]} {
		if _, err := rand.Read(b); err != nil {
			return vm{}, fmt.Errorf("reading random bytes: %w", err)
		}
	}
	s := seed{
		instanceID: newUUID(instance), hostname: o.Hostname, mac: newMAC(mac), user: o.User,
		userKey: userKey.public, hostKey: hostKey, parts: o.UserData,
	}
	if err := s.write(m.scratch.file("seed.iso")); err != nil {
		return vm{}, err
	}
	if err := img.overlay(ctx, o.qemuImg, m.scratch.file("overlay.qcow2"), o.DiskSize); err != nil {
		return vm{}, err
	}
	firmware, err := firmware.copyVars(m.scratch.path)
	if err != nil {
		return vm{}, err
	}
	return vm{
		arch: o.Arch, accel: m.report.Accel, cpus: o.CPUs, memoryMiB: o.MemoryMiB, firmware: firmware,
		overlay: m.scratch.file("overlay.qcow2"), seed: m.scratch.file("seed.iso"), qmp: m.scratch.file("qmp"),
		console: filepath.Join(o.Dir, ConsoleLog), journal: filepath.Join(o.Dir, JournalStream),
		mac: newMAC(mac), uuid: newUUID(uuid), kernel: o.kernel,
	}, nil
}

// evidence makes a file in the evidence directory, empty.
func (m *Machine) evidence(name string) (*os.File, error) {
	f, err := os.Create(filepath.Join(m.options.Dir, name))
	if err != nil {
		return nil, fmt.Errorf("making evidence: %w", err)
	}
	m.logs = append(m.logs, f)
	return f, nil
}

// forwardedPort reads the host's port from "info usernet", whose lines are
//
//	TCP[HOST_FORWARD]  12       127.0.0.1 41233       10.0.2.15    22     0     0
func forwardedPort(info string) (int, error) {
	for line := range strings.Lines(info) {
		fields := strings.Fields(line)
		if len(fields) >= 6 && fields[0] == "TCP[HOST_FORWARD]" && fields[4] == guestAddress && fields[5] == "22" {
			port, err := strconv.ParseUint(fields[3], 10, 16)
			if err == nil && port > 0 {
				return int(port), nil
			}
		}
	}
	return 0, fmt.Errorf("QEMU forwards no port to the guest's SSH server: it said %q", info)
}
