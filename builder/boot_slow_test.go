//go:build integration && slow

package builder

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/console"
)

// bootScript runs when the image has booted. The first time it replaces our
// grub.cfg by the distribution's, as a kernel upgrade does, and boots again.
const bootScript = `#!/bin/sh
exec >/dev/ttyS0 2>&1
if [ ! -e /var/lib/booted ]; then
	touch /var/lib/booted
	echo "FIRST-BOOT $(findmnt -no FSTYPE,SOURCE /) esp=$(findmnt -no FSTYPE /boot/efi) failed=$(systemctl list-units --failed --no-legend | wc -l)"
	update-grub && grep -q ttyS0 /boot/grub/grub.cfg && sync && systemctl reboot
	exit
fi
echo "SECOND-BOOT $(cat /proc/cmdline)"
systemctl poweroff
`

const bootUnit = `[Unit]
After=local-fs.target getty.target
[Service]
Type=oneshot
ExecStart=/usr/local/bin/boot-test
[Install]
WantedBy=multi-user.target
`

// bootHook installs bootScript.
type bootHook struct{}

func (bootHook) Run(ctx context.Context, name string, ui packersdk.Ui, comm packersdk.Communicator, _ any) error {
	if name != packersdk.HookProvision {
		return nil
	}
	if err := comm.Upload("/usr/local/bin/boot-test", strings.NewReader(bootScript), nil); err != nil {
		return err
	}
	if err := comm.Upload("/etc/systemd/system/boot-test.service", strings.NewReader(bootUnit), nil); err != nil {
		return err
	}
	cmd := &packersdk.RemoteCmd{Command: "chmod 0755 /usr/local/bin/boot-test && systemctl enable boot-test.service"}
	if err := cmd.RunWithUi(ctx, comm, ui); err != nil {
		return err
	}
	if code := cmd.ExitStatus(); code != 0 {
		return fmt.Errorf("enabling the test's unit exited with %d", code)
	}
	return nil
}

// TestBoots boots the image by its own loader, under each firmware, and again
// after update-grub has written a grub.cfg of its own.
func TestBoots(t *testing.T) {
	dir := warm(t, workspace(t, debian, keyring))
	if _, err := buildWith(t.Context(), dir, console.New(testWriter{t}), bootHook{}, nil); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "out", "small.qcow2")
	const ovmf = "/usr/share/OVMF/OVMF_"
	for name, firmware := range map[string]struct {
		code, vars string
		machine    []string
	}{
		"BIOS":        {},
		"UEFI":        {code: ovmf + "CODE_4M.fd", vars: ovmf + "VARS_4M.fd"},
		"Secure Boot": {ovmf + "CODE_4M.secboot.fd", ovmf + "VARS_4M.ms.fd", []string{"-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{
				"-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024", "-smp", "1", "-display", "none", "-monitor", "none", "-nic", "none",
				"-drive", "if=virtio,format=qcow2,snapshot=on,file=" + image,
			}, firmware.machine...)
			if firmware.code != "" {
				vars := filepath.Join(t.TempDir(), "vars.fd")
				data, err := os.ReadFile(firmware.vars)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(vars, data, 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "-drive", "if=pflash,format=raw,readonly=on,file="+firmware.code, "-drive", "if=pflash,format=raw,file="+vars)
			}
			log := filepath.Join(t.TempDir(), "console.log")
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
			defer cancel()
			vm := exec.CommandContext(ctx, "qemu-system-x86_64", append(args, "-serial", "file:"+log)...)
			vm.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			runErr := vm.Run()
			text, err := os.ReadFile(log)
			if err != nil {
				t.Fatalf("%v, %v", err, runErr)
			}
			for _, want := range []string{"FIRST-BOOT ext4 /dev/vda3 esp=vfat failed=0", "SECOND-BOOT BOOT_IMAGE=", "console=ttyS0,115200n8"} {
				if !strings.Contains(string(text), want) {
					t.Errorf("the console lacks %q (%v):\n%s", want, runErr, text[max(0, len(text)-3000):])
				}
			}
			secure := strings.Contains(string(text), "Secure boot enabled")
			if secure != (name == "Secure Boot") {
				t.Errorf("Secure Boot is %v", secure)
			}
		})
	}
}
