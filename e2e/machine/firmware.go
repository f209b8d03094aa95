package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
)

// firmwareFiles are a firmware's two flash chips: code, which is only read,
// and variables, of which each machine has its own copy.
type firmwareFiles struct {
	code, vars string
	format     string // raw or qcow2
	// smm: only code in system management mode may write the variables. OVMF
	// that is built for Secure Boot starts on no other machine; arm64 has no
	// such mode.
	smm bool
}

// ovmfCandidates are where distributions put OVMF, newest layout first. The
// 2 MB builds come last: their variable store is too small for Secure Boot's
// databases, and a store must match the size of its code.
var ovmfCandidates = [...]firmwareFiles{
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd", "raw", false},                   // Debian, Ubuntu
	{"/usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2", "/usr/share/edk2/ovmf/OVMF_VARS_4M.qcow2", "qcow2", false}, // Fedora
	{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd", "raw", false},           // Arch
	{"/usr/share/qemu/ovmf-x86_64-4m-code.bin", "/usr/share/qemu/ovmf-x86_64-4m-vars.bin", "raw", false},   // openSUSE
	{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd", "raw", false},               // Fedora to 38, RHEL
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd", "raw", false},                         // Debian to 11
}

// secureCandidates come with Microsoft's keys in the variables, and Secure Boot
// on. Arch has none with keys.
var secureCandidates = [...]firmwareFiles{
	{"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd", "raw", true},                        // Debian, Ubuntu
	{"/usr/share/edk2/ovmf/OVMF_CODE_4M.secboot.qcow2", "/usr/share/edk2/ovmf/OVMF_VARS_4M.secboot.qcow2", "qcow2", true}, // Fedora
	{"/usr/share/qemu/ovmf-x86_64-smm-ms-code.bin", "/usr/share/qemu/ovmf-x86_64-smm-ms-vars.bin", "raw", true},           // openSUSE
	{"/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd", "raw", true},               // Fedora to 38, RHEL
}

// aavmfCandidates are where distributions put the firmware of QEMU's arm64
// machine. Fedora's silent build comes first: the other writes its debug log to
// the console.
var aavmfCandidates = [...]firmwareFiles{
	{"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd", "raw", false},                                             // Debian, Ubuntu
	{"/usr/share/edk2/aarch64/QEMU_EFI-silent-pflash.qcow2", "/usr/share/edk2/aarch64/vars-template-pflash.qcow2", "qcow2", false}, // Fedora
	{"/usr/share/edk2/aarch64/QEMU_EFI-silent-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw", "raw", false},       // Fedora to 37, RHEL
	{"/usr/share/edk2/aarch64/QEMU_CODE.fd", "/usr/share/edk2/aarch64/QEMU_VARS.fd", "raw", false},                                 // Arch
	{"/usr/share/qemu/aavmf-aarch64-code.bin", "/usr/share/qemu/aavmf-aarch64-vars.bin", "raw", false},                             // openSUSE
}

// aavmfSecureCandidates have Microsoft's keys in the variables, and Secure Boot
// on.
var aavmfSecureCandidates = [...]firmwareFiles{
	{"/usr/share/AAVMF/AAVMF_CODE.ms.fd", "/usr/share/AAVMF/AAVMF_VARS.ms.fd", "raw", false},                 // Debian, Ubuntu
	{"/usr/share/qemu/aavmf-aarch64-ms-code.bin", "/usr/share/qemu/aavmf-aarch64-ms-vars.bin", "raw", false}, // openSUSE
}

// findFirmware returns the files of an architecture's firmware below root ("/" but in tests),
// and none for BIOS, which comes with QEMU.
func findFirmware(root string, arch Arch, firmware Firmware) (firmwareFiles, error) {
	hw := arch.hardware()
	candidates, without := hw.uefi, fmt.Sprintf("no UEFI firmware for %s on this host", arch)
	switch firmware {
	case BIOS:
		return firmwareFiles{}, nil
	case SecureBoot:
		candidates = hw.secureBoot
		without = fmt.Sprintf("no UEFI firmware for %s with Secure Boot and Microsoft's keys on this host (without it, leave secureboot out of the firmwares)", arch)
	}
	var looked []string
	for _, c := range candidates {
		c.code, c.vars = filepath.Join(root, c.code), filepath.Join(root, c.vars)
		if readable(c.code) && readable(c.vars) {
			return c, nil
		}
		looked = append(looked, c.code)
	}
	return firmwareFiles{}, exitcode.BadInput(fmt.Errorf(
		"%s: install the package %s; looked for %s, each with its variable store",
		without, hw.firmwarePackages, strings.Join(looked, ", ")))
}

func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// copyVars gives the machine a variable store of its own in dir.
func (f firmwareFiles) copyVars(dir string) (firmwareFiles, error) {
	if f.code == "" {
		return f, nil
	}
	content, err := os.ReadFile(f.vars)
	if err != nil {
		return f, fmt.Errorf("reading the UEFI variable store: %w", err)
	}
	f.vars = filepath.Join(dir, "vars.fd")
	if err := os.WriteFile(f.vars, content, 0o600); err != nil {
		return f, fmt.Errorf("copying the UEFI variable store: %w", err)
	}
	return f, nil
}
