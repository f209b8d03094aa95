package machine

import "runtime"

// Arch is a guest's architecture, by the name that Debian and Go have for it.
type Arch string

// The architectures that Start knows.
const (
	AMD64 Arch = "amd64"
	ARM64 Arch = "arm64"
)

// Arches are all that Start knows.
func Arches() []Arch { return []Arch{AMD64, ARM64} }

// Firmwares are those that start machines of the architecture.
func (a Arch) Firmwares() []Firmware {
	if a == ARM64 {
		return []Firmware{UEFI, SecureBoot}
	}
	return Firmwares()
}

// hostArch is this host's architecture, whose guests alone KVM runs.
func hostArch() Arch { return Arch(runtime.GOARCH) }

// hardware is what QEMU and the host's packages have differently for each
// architecture.
type hardware struct {
	qemu         string // the program
	qemuPackages string // that have it

	// emulatedCPU is the processor under TCG, measured to be fast there.
	emulatedCPU string

	// panicDevice is how a kernel tells QEMU that it panicked.
	panicDevice string

	uefi, secureBoot []firmwareFiles
	firmwarePackages string
}

func (a Arch) hardware() hardware {
	if a == ARM64 {
		return hardware{
			qemu:         "qemu-system-aarch64",
			qemuPackages: "qemu-system-arm (Debian, Ubuntu) or qemu-system-aarch64-core (Fedora)",
			// The architecture's own way to sign pointers costs some hundred
			// instructions of the host for each call of a function.
			emulatedCPU:      "max,pauth-impdef=on",
			panicDevice:      "pvpanic-pci", // this machine has no ISA bus
			uefi:             aavmfCandidates[:],
			secureBoot:       aavmfSecureCandidates[:],
			firmwarePackages: "qemu-efi-aarch64 (Debian, Ubuntu), edk2-aarch64 (Fedora, Arch) or qemu-uefi-aarch64 (openSUSE)",
		}
	}
	return hardware{
		qemu:         "qemu-system-x86_64",
		qemuPackages: "qemu-system-x86 (Debian, Ubuntu) or qemu-system-x86-core (Fedora)",
		// Each look into the page tables is emulated, too: a level less. A CPU
		// with fast "rep movsb" makes the kernel, glibc and Go copy byte by
		// byte, which is fast everywhere but here: without it pipes carry four
		// times as much or more and a fork with exec takes half the time.
		emulatedCPU:      "max,la57=off,erms=off",
		panicDevice:      "pvpanic",
		uefi:             ovmfCandidates[:],
		secureBoot:       secureCandidates[:],
		firmwarePackages: "ovmf (Debian, Ubuntu) or edk2-ovmf (Fedora, Arch)",
	}
}
