package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// Firmware selects what starts the boot loader.
type Firmware string

// The firmwares that Start knows.
const (
	BIOS Firmware = "bios" // SeaBIOS, QEMU's own
	UEFI Firmware = "uefi" // OVMF or AAVMF, from the distribution's package
	// SecureBoot is UEFI that starts only what the keys sign that machines
	// come with: Microsoft's. On amd64 its variables are locked against the
	// guest.
	SecureBoot Firmware = "secureboot"
)

// Firmwares are all that Start knows.
func Firmwares() []Firmware { return []Firmware{BIOS, UEFI, SecureBoot} }

// EFI tells whether the guest is started by UEFI.
func (f Firmware) EFI() bool { return f == UEFI || f == SecureBoot }

// Title is the firmware's name for people.
func (f Firmware) Title() string {
	if f == SecureBoot {
		return "UEFI with Secure Boot"
	}
	return strings.ToUpper(string(f))
}

// Accel selects what runs the guest's instructions.
type Accel string

// The accelerators. AccelAuto is KVM where KVM is proven to run a guest, TCG
// elsewhere; the report says which and why.
const (
	AccelAuto Accel = "auto"
	AccelKVM  Accel = "kvm"
	AccelTCG  Accel = "tcg"
)

// Options says which image boots and how. The zero value of everything but
// Image and Dir has a default.
type Options struct {
	// Image is the image file, qcow2 or raw. It is only read.
	Image string

	// Dir is the evidence directory; it is made if missing and must not be
	// shared by two machines at a time.
	Dir string

	// Arch is what the image was made for, AMD64 by default. It runs on any
	// host, under TCG where that is for another.
	Arch Arch

	// Firmware is BIOS by default, and UEFI where there is no BIOS.
	Firmware Firmware

	// Accel is AccelAuto by default. AccelKVM fails where KVM is not proven.
	Accel Accel

	// CPUs is the number of virtual CPUs, 2 by default: kubeadm's minimum.
	CPUs int

	// MemoryMiB is the guest's memory, 4096 by default.
	MemoryMiB int

	// DiskSize in bytes is what the guest sees as its disk, so that a root
	// file system that grows can be tested. Zero keeps the image's own size;
	// less than that is refused.
	DiskSize int64

	// Hostname is the node's name, "node" by default.
	Hostname string

	// User logs in over SSH, "root" by default. Another user is created with
	// passwordless sudo, which the image must then have; commands still run
	// as root.
	User string

	// UserData are further cloud-init parts, each beginning with its own
	// first line ("#cloud-config", "#!/bin/sh", …). Lists and maps of a
	// "#cloud-config" part are merged with the suite's own.
	UserData []string

	// BootTimeout bounds the time from QEMU's start to the first answer over
	// SSH. The default is 3 minutes under KVM and 15 minutes under TCG.
	BootTimeout time.Duration

	// Scratch holds the overlay and the keys while the machine runs;
	// $TMPDIR or /var/tmp by default. What killed processes left there is
	// removed at the next start.
	Scratch string

	// CacheDir remembers whether KVM works, until the next boot of the host;
	// the user's cache directory by default.
	CacheDir string

	// Test seams.
	qemu, qemuImg string        // the programs
	kvm           string        // the device
	host          Arch          // this host's
	root          string        // where firmware is looked for
	grace         time.Duration // how long "never started" is the answer
	deadline      time.Duration // of the test guest that proves KVM
	kernel        directKernel  // boots a disk without a boot loader
}

const (
	defaultCPUs      = 2
	defaultMemoryMiB = 4096
	defaultGrace     = 3 * time.Second
	bootTimeoutKVM   = 3 * time.Minute
	bootTimeoutTCG   = 15 * time.Minute
	qemuImgBinary    = "qemu-img"
	kvmDevice        = "/dev/kvm"
)

var (
	hostnamePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	userPattern     = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
)

// withDefaults fills what was left out.
func (o Options) withDefaults() Options {
	o.Arch = orDefault(o.Arch, AMD64)
	o.Firmware = orDefault(o.Firmware, o.Arch.Firmwares()[0])
	o.Accel = orDefault(o.Accel, AccelAuto)
	o.CPUs = orDefault(o.CPUs, defaultCPUs)
	o.MemoryMiB = orDefault(o.MemoryMiB, defaultMemoryMiB)
	o.Hostname = orDefault(o.Hostname, "node")
	o.User = orDefault(o.User, "root")
	o.host = orDefault(o.host, hostArch())
	o.root = orDefault(o.root, "/")
	o.qemu = orDefault(o.qemu, o.Arch.hardware().qemu)
	o.qemuImg = orDefault(o.qemuImg, qemuImgBinary)
	o.grace = orDefault(o.grace, defaultGrace)
	o.deadline = orDefault(o.deadline, proofDeadline)
	o.kvm = orDefault(o.kvm, kvmDevice)
	// Not os.TempDir: /tmp is memory on many distributions, and an overlay
	// grows to gigabytes.
	o.Scratch = orDefault(o.Scratch, orDefault(os.Getenv("TMPDIR"), "/var/tmp"))
	if o.CacheDir == "" {
		if dir, err := os.UserCacheDir(); err == nil {
			o.CacheDir = filepath.Join(dir, "nodeimage")
		}
	}
	return o
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// validate reports everything that is wrong with the options at once, as bad
// input. It expects defaults to be filled in.
func (o Options) validate() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if o.Image == "" {
		bad("no image was named")
	}
	if o.Dir == "" {
		bad("no evidence directory was named")
	}
	if !slices.Contains(Arches(), o.Arch) {
		bad("architecture %q: expected one of %q", o.Arch, Arches())
	}
	switch {
	case !slices.Contains(Firmwares(), o.Firmware):
		bad("firmware %q: expected one of %q", o.Firmware, o.Arch.Firmwares())
	case !slices.Contains(o.Arch.Firmwares(), o.Firmware):
		bad("firmware %s: an %s image boots by UEFI alone: say --firmware %s", o.Firmware, o.Arch, UEFI)
	}
	if o.Accel != AccelAuto && o.Accel != AccelKVM && o.Accel != AccelTCG {
		bad("accelerator %q: expected %q, %q or %q", o.Accel, AccelAuto, AccelKVM, AccelTCG)
	}
	if o.Accel == AccelKVM && o.foreign() != "" {
		bad("KVM was asked for and cannot run the image: %s: say --accel %s or %s for emulation, or run it on an %s host",
			o.foreign(), AccelAuto, AccelTCG, o.Arch)
	}
	if o.CPUs < 1 || o.CPUs > 255 {
		bad("%d CPUs: expected 1 to 255", o.CPUs)
	}
	if o.MemoryMiB < 128 {
		bad("%d MiB of memory: expected 128 or more", o.MemoryMiB)
	}
	if o.DiskSize < 0 || o.DiskSize%512 != 0 {
		bad("disk size %d: expected whole sectors of 512 bytes", o.DiskSize)
	}
	if !hostnamePattern.MatchString(o.Hostname) {
		bad("host name %q: expected a DNS label in lower case", o.Hostname)
	}
	if !userPattern.MatchString(o.User) {
		bad("user %q: expected a POSIX user name in lower case", o.User)
	}
	if o.BootTimeout < 0 {
		bad("boot timeout %s: expected a positive duration", o.BootTimeout)
	}
	for i, part := range o.UserData {
		if _, err := partType(part); err != nil {
			bad("user data part %d: %w", i+1, err)
		}
	}
	if strings.Contains(o.Dir, "\n") || strings.Contains(o.Scratch, "\n") {
		bad("the evidence and scratch directories must not have line breaks in their names")
	}
	return exitcode.BadInput(errors.Join(problems...))
}

// Check reports what is wrong with the options, all of it at once, as Start
// does before it touches anything.
func (o Options) Check() error { return o.withDefaults().validate() }

// foreign says why no KVM of this host can run the image, whatever state it is
// in; nothing if one may.
func (o Options) foreign() string {
	if o.Arch == o.host {
		return ""
	}
	return fmt.Sprintf("the image is for %s and this host is %s", o.Arch, o.host)
}

// bootTimeout returns the deadline for the first answer.
func (o Options) bootTimeout(accel Accel) time.Duration {
	switch {
	case o.BootTimeout > 0:
		return o.BootTimeout
	case accel == AccelKVM:
		return bootTimeoutKVM
	default:
		return bootTimeoutTCG
	}
}
