package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

const (
	grubDir     = "/boot/grub"
	biosDir     = grubDir + "/i386-pc"
	biosModules = "/usr/lib/grub/i386-pc"
	coreImage   = biosDir + "/core.img"
)

// coreModules are built into the BIOS core image: what it takes to read
// grub.cfg and boot from it, and what a person at the prompt wants.
var coreModules = [...]string{
	"biosdisk", "part_gpt", "ext2", "search", "search_fs_uuid", "normal", "configfile",
	"linux", "gzio", "echo", "test", "serial", "terminal", "minicmd", "ls", "cat", "reboot", "halt",
}

// searchConfig finds the root file system by its UUID, wherever the firmware
// put the disk, and goes on with its grub.cfg.
func searchConfig(rootUUID string) string {
	return "search.fs_uuid " + rootUUID + " root\nset prefix=($root)'" + grubDir + "'\n"
}

// kernelLinks finds the links to the newest kernel and its initramfs that the
// distribution maintains, Debian in / and Ubuntu in /boot, so that a kernel
// upgrade needs no new grub.cfg.
func kernelLinks(root *rooted.Dir) (kernel, initrd string, err error) {
	for _, dir := range []string{"/", "/boot/"} {
		kernel, initrd = dir+"vmlinuz", dir+"initrd.img"
		if _, err := root.Lstat(kernel); err != nil {
			continue
		}
		for _, name := range []string{kernel, initrd} {
			if info, err := root.Stat(name); err != nil {
				return "", "", fmt.Errorf("%s leads to no file in the image: %w", name, err)
			} else if !info.Mode().IsRegular() || info.Size() == 0 {
				return "", "", fmt.Errorf("%s in the image is empty or no file", name)
			}
		}
		return kernel, initrd, nil
	}
	return "", "", errors.New("the image has no kernel: neither /vmlinuz nor /boot/vmlinuz is there; name one in kernel.package of the profile")
}

// serialTerminal is for a PC's first port. The firmware of other machines has its
// console there already, and GRUB would write to the same port twice.
const serialTerminal = `if serial --unit=0 --speed=115200; then
	terminal_input console serial
	terminal_output console serial
fi
`

// GrubConfig is /boot/grub/grub.cfg. cmdline follows root=.
func GrubConfig(fw Firmware, title, rootUUID, kernel, initrd string, cmdline []string) string {
	quotedTitle := strings.ReplaceAll(title, "'", "")
	terminal := ""
	if fw.BIOS {
		terminal = serialTerminal
	}
	return fmt.Sprintf(`# Written by nodeimage when the image was built; update-grub replaces it.
set default=0
set timeout=1
%[6]sinsmod part_gpt
insmod ext2
search --no-floppy --fs-uuid --set=root %[2]s
menuentry '%[1]s' {
	linux %[3]s root=UUID=%[2]s ro %[5]s
	initrd %[4]s
}
`, quotedTitle, rootUUID, kernel, initrd, strings.Join(cmdline, " "), terminal)
}

// grubDefaults makes update-grub on a running node keep the same settings.
func grubDefaults(fw Firmware, cmdline []string) string {
	terminal := ""
	if fw.BIOS {
		terminal = "GRUB_TERMINAL=\"console serial\"\nGRUB_SERIAL_COMMAND=\"serial --unit=0 --speed=115200\"\n"
	}
	return `# Written by nodeimage, from kernel.commandLine of the profile.
GRUB_TIMEOUT=1
GRUB_CMDLINE_LINUX="` + strings.Join(cmdline, " ") + `"
GRUB_CMDLINE_LINUX_DEFAULT=""
` + terminal + `GRUB_DISABLE_OS_PROBER=true
`
}

// fstab mounts what the disk has. Growing follows the partition, which
// systemd-repart or cloud-init enlarges first. A node that boots by BIOS can do
// without its ESP.
func fstab(l Layout) string {
	return fmt.Sprintf("# <file system> <mount point> <type> <options> <dump> <pass>\n"+
		"UUID=%s / ext4 defaults,errors=remount-ro,x-systemd.growfs 0 1\n"+
		"UUID=%s /boot/efi vfat umask=0077,nofail 0 2\n", l.RootUUID, l.ESPSerial())
}

// checkCommandLine refuses what grub.cfg or the shell of /etc/default would
// take as more than an argument.
func checkCommandLine(cmdline []string) error {
	for _, arg := range cmdline {
		if arg == "" || strings.ContainsAny(arg, " \t\n'\"`\\$;&|<>{}#") {
			return fmt.Errorf("kernel command line argument %q: expected no spaces, quotes and shell characters", arg)
		}
	}
	return nil
}

// WriteFSTab writes /etc/fstab.
func WriteFSTab(root *rooted.Dir, l Layout) error {
	return root.WriteFile("/etc/fstab", []byte(fstab(l)), 0o644)
}

// WriteBootFiles writes GRUB's files into the root file system,
// and has the image's own GRUB make the BIOS core image there. chroot runs
// commands in the image.
func WriteBootFiles(ctx context.Context, root *rooted.Dir, chroot run.Runner, fw Firmware, l Layout, title string, cmdline []string) error {
	if err := checkCommandLine(cmdline); err != nil {
		return err
	}
	kernel, initrd, err := kernelLinks(root)
	if err != nil {
		return err
	}
	files := map[string]string{
		grubDir + "/grub.cfg": GrubConfig(fw, title, l.RootUUID, kernel, initrd, cmdline),
	}
	if _, err := root.Stat("/usr/sbin/update-grub"); err == nil {
		files["/etc/default/grub.d/50-nodeimage.cfg"] = grubDefaults(fw, cmdline)
	}
	for name, content := range files {
		if err := root.WriteFile(name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	if err := root.MkdirAll("/boot/efi", 0o755); err != nil {
		return err
	}
	if !fw.BIOS {
		return nil
	}
	return makeCore(ctx, root, chroot, l)
}

// makeCore leaves boot.img, core.img and the modules in /boot/grub/i386-pc,
// where grub-install would.
func makeCore(ctx context.Context, root *rooted.Dir, chroot run.Runner, l Layout) error {
	entries, err := root.ReadDir(biosModules)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the image has no %s: add the package grub-pc-bin to the profile", biosModules)
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch path.Ext(e.Name()) {
		case ".mod", ".lst":
		default:
			if e.Name() != "boot.img" {
				continue
			}
		}
		data, err := root.ReadFile(path.Join(biosModules, e.Name()))
		if err != nil {
			return err
		}
		if err := root.WriteFile(path.Join(biosDir, e.Name()), data, 0o644); err != nil {
			return err
		}
	}
	const load = biosDir + "/load.cfg"
	if err := root.WriteFile(load, []byte(searchConfig(l.RootUUID)), 0o644); err != nil {
		return err
	}
	if _, err := chroot.Run(ctx, run.Cmd{Argv: coreArgv(load)}); err != nil {
		return fmt.Errorf("making the BIOS boot loader (grub-mkimage comes with the package grub-common): %w", err)
	}
	return nil
}

func coreArgv(config string) []string {
	return append([]string{
		"grub-mkimage", "--format=i386-pc", "--directory=" + biosModules, "--prefix=" + grubDir,
		"--config=" + config, "--output=" + coreImage,
	}, coreModules[:]...)
}
