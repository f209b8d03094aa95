package machine

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	// Each fault with lines that name it, and lines that look like it and are
	// not.
	tests := map[string]struct {
		red, green []string
		effect     effect
	}{
		"kernel-panic": {effect: dead,
			red:   []string{"[    1.234567] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"},
			green: []string{"[    0.1] Kernel command line: panic=-1", "[    1.1] pstore: Using crash dump compression"}},
		"init-crash": {effect: dead,
			red:   []string{"[   10.0] systemd[1]: Freezing execution.", "systemd[1]: Caught <SEGV>, dumped core as pid 99."},
			green: []string{"systemd[1]: Reached target multi-user.target"}},
		"no-bootable-device": {effect: stuck,
			red: []string{"No bootable device.", "BdsDxe: No bootable option or device was found.", "UEFI Interactive Shell v2.2",
				"BdsDxe: starting Boot0000 \"UiApp\" from Fv(7CB8BDC9-F8EB-4F34-AAEA-3EE4AF6516A1)/FvFile(462CAA21-7614-4503-836E-8AB6F4662331)"},
			green: []string{"BdsDxe: failed to load Boot0001 \"UEFI Misc Device\"", "Booting from Hard Disk..."}},
		"secure-boot-refused": {effect: stuck,
			red: []string{"Verification failed: (0x1A) Security Violation", "error: bad shim signature.", "error: prohibited by secure boot policy.",
				`BdsDxe: failed to load Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x1,0x0): Access Denied`},
			green: []string{"BdsDxe: failed to load Boot0001 \"UEFI Misc Device\"", "[    0.0] secureboot: Secure boot enabled"}},
		"boot-loader-stuck": {effect: stuck,
			red:   []string{"grub rescue> ", "grub> ", "Entering rescue mode..."},
			green: []string{"GNU GRUB  version 2.12", "Welcome to GRUB!"}},
		"initramfs-shell": {effect: stuck,
			red:   []string{"(initramfs) ", "Gave up waiting for root file system device.  Common problems:", "ALERT!  UUID=x does not exist.  Dropping to a shell!", "dracut:/# "},
			green: []string{"[    0.9] Trying to unpack rootfs image as initramfs...", "Begin: Running /scripts/local-premount ... done."}},
		"emergency-shell": {effect: stuck,
			red: []string{"You are in emergency mode. After logging in, type \"journalctl -xb\"", "You are in rescue mode.", "Press Enter for maintenance",
				"Cannot open access to console, the root account is locked.", "Entering emergency mode. Exit the shell to continue."},
			green: []string{"         Starting emergency notification of nothing", "[  OK  ] Stopped target rescue.target - Rescue Mode."}},
		"soft-lockup": {
			red:   []string{"[   60.0] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [swapper/1:0]", "[   60.0] watchdog: Watchdog detected hard LOCKUP on cpu 0", "[ 90.0] BUG: workqueue lockup - pool cpus=0 node=0"},
			green: []string{"[    0.2] NMI watchdog: Enabled. Permanently consumes one hw-PMU counter."}},
		"rcu-stall": {
			red:   []string{"[   60.0] rcu: INFO: rcu_preempt self-detected stall on CPU", "[   60.0] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", "[ 60.0] rcu: rcu_preempt kthread starved for 2500 jiffies!"},
			green: []string{"[    0.0] rcu: Hierarchical RCU implementation.", "[    0.0] rcu: RCU calculated value of scheduler-enlistment delay is 25 jiffies."}},
		"hung-task": {
			red:   []string{"[  242.1] INFO: task jbd2/vda3-8:211 blocked for more than 120 seconds."},
			green: []string{"[   42.1] INFO: lockdep is turned off."}},
		"kernel-oops": {
			red: []string{"[    3.0] Oops: 0000 [#1] PREEMPT SMP NOPTI", "[    3.0] BUG: unable to handle page fault for address: ffffb0a0", "[ 3.0] BUG: kernel NULL pointer dereference, address: 0000000000000000",
				"[    3.0] general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
				"[    3.0] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000", "[    3.0] Internal error: Oops - Undefined instruction: 0000000002000000 [#1] SMP"},
			green: []string{"[    0.0] Loops: 0", "[    0.0] Internal error: none"}},
		"kernel-bug": {
			red:   []string{"[    3.0] kernel BUG at mm/slub.c:4113!", "[    3.0] BUG: Bad page state in process kubelet  pfn:12345"},
			green: []string{"[    0.0] DEBUG: nothing", "Report bugs to BUGS"}},
		"kernel-warning": {
			red:   []string{"[    3.0] WARNING: CPU: 0 PID: 1 at kernel/cgroup/cgroup.c:6580 cgroup_get+0x1/0x2", "[    3.0] WARNING: kernel/cgroup/cgroup.c at 0x0, CPU#0: at net/core/dev.c:99"},
			green: []string{"[    0.0] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on", "WARNING: cloud-init said something"}},
		"cgroup-oom-kill": {
			red:   []string{"[  100.0] Memory cgroup out of memory: Killed process 999 (stress) total-vm:1kB", "[ 100.0] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=cri-containerd-x.scope"},
			green: []string{"[  100.0] memory: usage 100kB, limit 100kB, failcnt 1"}},
		"oom-kill": {
			red:   []string{"[  100.0] Out of memory: Killed process 999 (kube-apiserver) total-vm:1kB", "[  100.0] kubelet invoked oom-killer: gfp_mask=0xcc0", "[ 100.0] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null)"},
			green: []string{"[    5.0] systemd[1]: Started systemd-oomd.service"}},
		"segfault": {
			red: []string{"[   20.0] runc[812]: segfault at 0 ip 00007f0 sp 00007ff error 4 in libc.so.6", "[   20.0] traps: perl[99] trap invalid opcode ip:0 sp:0 error:0", "[ 20.0] traps: cat[99] general protection fault ip:0",
				"[   20.0] runc[812]: unhandled exception: DABT (lower EL), ESR 0x0000000092000006, level 2 translation fault in runc[aaaac1f0+1000]"},
			green: []string{"[    0.0] traps: nothing"}},
		"filesystem-error": {
			red: []string{"[    9.0] EXT4-fs error (device vda3): ext4_lookup:1855: inode #2: comm ls: deleted inode referenced", "[    9.0] EXT4-fs (vda3): error count since last fsck: 3",
				"[    9.0] EXT4-fs (vda3): warning: mounting fs with errors, running e2fsck is recommended", "[    9.0] EXT4-fs (vda3): Remounting filesystem read-only"},
			green: []string{"[    9.0] EXT4-fs (vda3): mounted filesystem x r/w with ordered data mode. Quota mode: none.", "[  9.0] EXT4-fs (vda3): re-mounted x ro."}},
		"io-error": {
			red:   []string{"[    9.0] I/O error, dev vda, sector 2048 op 0x0:(READ) flags 0x0", "[    9.0] Buffer I/O error on dev vda3, logical block 1, async page read"},
			green: []string{"[    9.0] io scheduler mq-deadline registered"}},
		"watchdog-timeout": {
			red:   []string{"systemd[1]: systemd-journald.service: Watchdog timeout (limit 3min)!"},
			green: []string{"[  218.8] watchdog: watchdog0: watchdog did not stop!", "[ 0.0] watchdog: Delayed init of the lockup detector failed: -19"}},
		"ordering-cycle": {
			red:   []string{"systemd[1]: sysinit.target: Found ordering cycle on cloud-init.service/start", "systemd[1]: x.service: Job y.service/start deleted to break ordering cycle starting with z"},
			green: []string{"systemd[1]: Reordering nothing"}},
		"unit-failed": {
			red:   []string{"[FAILED] Failed to start kubelet.service - kubelet.", "[DEPEND] Dependency failed for local-fs.target", "systemd[1]: Failed to start containerd.service - containerd container runtime."},
			green: []string{"[  OK  ] Started kubelet.service - kubelet.", "[    1.0] virtio: failed to nothing"}},
		"device-timeout": {
			red:   []string{"[ TIME ] Timed out waiting for device dev-vda3.device - /dev/vda3."},
			green: []string{"[  OK  ] Found device dev-vda3.device - /dev/vda3."}},
		"netdev-leak": {
			red:   []string{"[  300.0] unregister_netdevice: waiting for lo to become free. Usage count = 1"},
			green: []string{"[  300.0] eth0: renamed from veth1"}},
		"conntrack-full": {
			red:   []string{"[  300.0] nf_conntrack: nf_conntrack: table full, dropping packet"},
			green: []string{"[    5.0] nf_conntrack version 0.5.0 (65536 buckets, 262144 max)"}},
	}
	known := faults()
	for _, f := range known {
		test, ok := tests[f.id]
		if !ok {
			t.Errorf("%s has no lines that prove it", f.id)
			continue
		}
		if f.effect != test.effect {
			t.Errorf("%s: effect %d: want %d", f.id, f.effect, test.effect)
		}
	}
	if len(known) != len(tests) {
		t.Errorf("%d faults and %d tests", len(known), len(tests))
	}
	for id, test := range tests {
		for _, line := range test.red {
			f, ok := classify(known, cleanLine(line))
			if !ok || f.id != id {
				t.Errorf("%q: got %q, want %q", line, f.id, id)
			}
		}
		if len(test.red) == 0 || len(test.green) == 0 {
			t.Errorf("%s needs a red and a green line", id)
		}
		for _, line := range test.green {
			if f, ok := classify(known, cleanLine(line)); ok {
				t.Errorf("%q was taken for %q", line, f.id)
			}
		}
	}
}

func TestScanLog(t *testing.T) {
	t.Parallel()
	log := "fine\r\n" +
		"\x1b[0;1;31m[FAILED]\x1b[0m Failed to start a.service\r\n" +
		"[\x1b[0;1;31mFAILED\x1b[0m] Failed to start \x1b[0;1;39mb.service\x1b[0m - B.\r\n" +
		"\r\n" +
		"\x1b]0;title\x07\x1b(B\x1b[?25h(initramfs) "
	all := []Finding{
		{"unit-failed", 2, "[FAILED] Failed to start a.service"},
		{"unit-failed", 3, "[FAILED] Failed to start b.service - B."},
		{"initramfs-shell", 5, "(initramfs)"},
	}
	got, err := ScanLog(strings.NewReader(log), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	got, err = ScanLog(strings.NewReader(log), []Allow{{ID: "unit-failed", Line: regexp.MustCompile(`a\.service`), Why: "known"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all[1:], got); diff != "" {
		t.Errorf("with one allowed (-want +got):\n%s", diff)
	}
	for _, a := range []Allow{{ID: "x", Line: regexp.MustCompile("x")}, {ID: "x", Why: "x"}, {Line: regexp.MustCompile("x"), Why: "x"}} {
		if _, err := ScanLog(strings.NewReader(log), []Allow{a}); err == nil {
			t.Errorf("%+v was accepted", a)
		}
	}
}
