package machine

import (
	"fmt"
	"strconv"
	"strings"
)

// Names of the devices that the guest sees.
const (
	rootSerial  = "nodeimage-root"
	journalPort = "org.nodeimage.journal"
)

// The addresses of QEMU's user network. They are handed to the guest as static
// ones: with restrict=on QEMU's DHCP server offers neither a router nor a name
// server, and without a default route kubeadm picks no address.
const (
	guestAddress = "10.0.2.15"
	guestPrefix  = "24"
	guestGateway = "10.0.2.2"
	guestDNS     = "10.0.2.3"
)

// directKernel boots a disk that has no boot loader.
type directKernel struct {
	kernel, initrd, cmdline string
}

// vm is everything that QEMU's command line says.
type vm struct {
	arch      Arch
	accel     Accel
	cpus      int
	memoryMiB int
	firmware  firmwareFiles // empty for BIOS
	overlay   string        // qcow2
	seed      string        // ISO 9660
	console   string        // serial console's log
	journal   string        // what the guest writes to journalPort
	qmp       string        // socket that QEMU listens on
	mac       string
	uuid      string
	kernel    directKernel
}

// argv renders QEMU's arguments, the program's name not included.
//
// The machine is the same for both firmwares and both accelerators but for
// what they need themselves: no defaults, no display, virtio for all else. The
// guest does not run until QMP says so (-S), so that no event and no byte of
// the console is missed. Writes are not flushed to the host's disk
// (cache=unsafe): the overlay dies with the machine.
func (v vm) argv() []string {
	args := []string{
		"-name", "nodeimage",
		"-no-user-config", "-nodefaults",
		"-machine", v.machine(),
		"-uuid", v.uuid,
		"-smp", strconv.Itoa(v.cpus),
		"-m", strconv.Itoa(v.memoryMiB),
	}
	switch v.accel {
	case AccelKVM:
		args = append(args, "-accel", "kvm", "-cpu", "host")
	default:
		args = append(args, "-accel", "tcg,thread=multi,tb-size=1024", "-cpu", v.arch.hardware().emulatedCPU)
	}
	if v.firmware.code != "" {
		args = append(args,
			"-drive", "if=pflash,unit=0,readonly=on,format="+v.firmware.format+",file="+quoteValue(v.firmware.code),
			"-drive", "if=pflash,unit=1,format="+v.firmware.format+",file="+quoteValue(v.firmware.vars))
	}
	if v.firmware.smm {
		// Sleeping to memory would lose the protection, and OVMF refuses it.
		args = append(args, "-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1")
	}
	args = append(args,
		"-display", "none", "-vga", "none",
		"-S",
		// A panic stops the guest where it is, so that the console keeps what
		// led to it; nothing that follows scrolls it away.
		"-action", "panic=pause",
		"-device", v.arch.hardware().panicDevice,
		"-chardev", "socket,id=qmp,server=on,wait=off,path="+quoteValue(v.qmp),
		"-mon", "chardev=qmp,mode=control",
		"-chardev", "file,id=console,path="+quoteValue(v.console),
		"-serial", "chardev:console",
		"-drive", "if=none,id=root,format=qcow2,cache=unsafe,discard=unmap,file="+quoteValue(v.overlay),
		"-device", "virtio-blk-pci,drive=root,serial="+rootSerial+",bootindex=1",
		"-drive", "if=none,id=seed,format=raw,readonly=on,file="+quoteValue(v.seed),
		"-device", "virtio-blk-pci,drive=seed",
		// Port 0 lets the kernel choose, and QMP tells which it was: there is
		// no moment in which another process could take it.
		"-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-"+guestAddress+":22",
		"-device", "virtio-net-pci,netdev=net,romfile=,mac="+v.mac,
		"-device", "virtio-rng-pci",
		"-device", "virtio-serial-pci",
		"-chardev", "file,id=journal,path="+quoteValue(v.journal),
		"-device", "virtserialport,chardev=journal,name="+journalPort,
	)
	if v.kernel.kernel != "" {
		args = append(args, "-kernel", v.kernel.kernel, "-append", v.kernel.cmdline)
	}
	if v.kernel.initrd != "" {
		args = append(args, "-initrd", v.kernel.initrd)
	}
	return args
}

// machine is q35 for its PCI Express and AHCI, as clouds and OVMF have it, and
// arm64's own with the newest interrupt controller that there is: the oldest
// ends at eight processors, and not every KVM has it. With graphics off SeaBIOS talks to the serial port, so that "No bootable
// device" is on the console rather than on a screen that nobody sees.
func (v vm) machine() string {
	switch {
	case v.arch == ARM64:
		return "virt,gic-version=max"
	case v.firmware.code == "":
		return "q35,graphics=off"
	case v.firmware.smm:
		return "q35,smm=on"
	}
	return "q35"
}

// quoteValue escapes a value of one of QEMU's comma-separated options.
func quoteValue(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// newMAC and newUUID identify one machine; both are random, so that two
// machines of one image differ as two machines in a rack do.
func newMAC(random [3]byte) string {
	return fmt.Sprintf("52:54:00:%02x:%02x:%02x", random[0], random[1], random[2])
}

func newUUID(random [16]byte) string {
	random[6] = random[6]&0x0f | 0x40
	random[8] = random[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", random[0:4], random[4:6], random[6:8], random[8:10], random[10:16])
}
