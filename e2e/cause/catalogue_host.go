package cause

func hostCauses() []Cause {
	return []Cause{
		{
			ID:    "swap-enabled",
			Title: "swap is on",
			Fix:   "remove swap from fstab, mask *.swap units and zram generators",
			Fatal: 3,
			Symptoms: []Symptom{
				symptom(Journal, Certain, `running with swap on is not supported`),
				symptom(Fact, Certain, `/proc/swaps lists`),
				symptom(Kubeadm, Likely, `\[(ERROR|WARNING) Swap\]`),
			},
		},
		{
			ID:    "ip-forward-off",
			Title: "net.ipv4.ip_forward is 0",
			Fix:   "set net.ipv4.ip_forward = 1 in /etc/sysctl.d, late enough that no other file resets it",
			Symptoms: []Symptom{
				symptom(Kubeadm, Certain, `ip_forward contents are not set to 1`),
			},
		},
		{
			ID:    "br-netfilter-missing",
			Title: "the module br_netfilter is not loaded, so bridged pod traffic passes the Service rules by",
			Fix:   "list br_netfilter in /etc/modules-load.d and set net.bridge.bridge-nf-call-iptables = 1",
			See:   []string{"flannel#2166"},
			Symptoms: []Symptom{
				symptom(Journal, Certain, `/proc/sys/net/bridge/bridge-nf-call-iptables: no such file or directory`),
				symptom(Fact, Certain, `bridge-nf-call-iptables is (0|absent)`),
			},
		},
		{
			ID:    "coredns-resolver-loop",
			Title: "pods inherit the systemd-resolved stub, so CoreDNS forwards to itself",
			Fix:   "point the kubelet's resolvConf at /run/systemd/resolve/resolv.conf and let systemd-resolved run",
			See:   []string{"coredns#2087"},
			Fatal: 1,
			Symptoms: []Symptom{
				symptom(Pod, Certain, `plugin/loop: Loop \(`),
				symptom(Journal, Certain, `plugin/loop: Loop \(`),
				symptom(Event, Certain, `plugin/loop: Loop \(`),
			},
		},
		{
			ID:    "inotify-limit",
			Title: "the inotify limits are too low",
			Fix:   "set fs.inotify.max_user_instances = 8192 and fs.inotify.max_user_watches = 524288 in /etc/sysctl.d",
			See:   []string{"kubernetes#104303"},
			Symptoms: []Symptom{
				symptom(Journal, Likely, `failed to create fsnotify watcher: too many open files`),
				symptom(Journal, Possible, `inotify.*too many open files`),
			},
		},
		{
			ID:        "leader-election-lost",
			Title:     "the API server left the controller manager or the scheduler without an answer until its lease ran out, so it exited",
			Fix:       "look for what keeps etcd or the API server busy: a slow disk, or a host that runs too much beside the machine",
			TellApart: "on a slow disk etcd's log says \"apply request took too long\" and \"slow fdatasync\"",
			Symptoms: []Symptom{
				symptom(Pod, Likely, `"?Failed to renew lease"?.*context deadline exceeded`),
			},
		},
		{
			ID:    "disk-full",
			Title: "the root file system is full",
			Fix:   "enlarge the profile's disk, and check that the root grew at first boot",
			Symptoms: []Symptom{
				symptom(Journal, Likely, `no space left on device`),
				symptom(Kernel, Likely, `EXT4-fs warning.*No space`),
				symptom(Event, Likely, `NodeHasDiskPressure|The node was low on resource: ephemeral-storage`),
			},
		},
		{
			ID:    "root-did-not-grow",
			Title: "the root file system kept the size that it has in the image",
			Fix:   "let systemd-repart grow the partition and give / the option x-systemd.growfs in /etc/fstab, or let cloud-init's growpart and resizefs do it",
			See:   []string{"systemd systemd-growfs@.service(8)"},
			Symptoms: []Symptom{
				symptom(Fact, Certain, `the root file system did not grow`),
			},
		},
		{
			ID:    "preflight-failed",
			Title: "kubeadm's preflight checks refuse the node",
			Fix:   "mend what the named check wants; do not ignore it",
			Symptoms: []Symptom{
				symptom(Kubeadm, Possible, `^\s*\[ERROR [A-Za-z0-9.-]+\]`),
			},
		},
	}
}

func bootCauses() []Cause {
	return []Cause{
		{
			ID:    "kernel-panic",
			Title: "the kernel panicked",
			Fix:   "read the call trace in the console; `VFS: Unable to mount root` means that the initramfs or root= does not fit the disk",
			Symptoms: []Symptom{
				symptom(Console, Certain, `Kernel panic - not syncing`),
				symptom(Kernel, Certain, `Kernel panic - not syncing`),
			},
		},
		{
			ID:    "kernel-oops",
			Title: "the kernel hit a bug",
			Fix:   "change the kernel version; from 6.17 on also use runc 1.5.2 or newer",
			Symptoms: []Symptom{
				symptom(Console, Likely, `(^|\] )(BUG: |Oops: |general protection fault)`),
				symptom(Kernel, Likely, `(^|\] )(BUG: |Oops: |general protection fault)`),
			},
		},
		{
			ID:    "out-of-memory",
			Title: "the kernel killed a process for lack of memory",
			Fix:   "give the machine more memory, or find what grew in the journal",
			Symptoms: []Symptom{
				symptom(Console, Likely, `Out of memory: Killed process`),
				symptom(Kernel, Likely, `Out of memory: Killed process|oom-kill:constraint=CONSTRAINT_NONE`),
			},
		},
		{
			ID:    "emergency-shell",
			Title: "the boot ended in an emergency shell",
			Fix:   "look above the prompt for the unit or mount that failed, most often an fstab entry whose device is not there",
			Symptoms: []Symptom{
				symptom(Console, Certain, `You are in (emergency|rescue) mode|Give root password for maintenance|\(initramfs\)\s*$`),
				symptom(Console, Certain, `Reached target .*[Ee]mergency`),
			},
		},
		{
			ID:    "ordering-cycle",
			Title: "systemd units order themselves in a cycle, and systemd dropped one of them",
			Fix:   "remove one After= or Before= of the units that the line names",
			Symptoms: []Symptom{
				symptom(Console, Certain, `[Ff]ound ordering cycle|Job .* deleted to break ordering cycle`),
				symptom(Journal, Certain, `[Ff]ound ordering cycle|Job .* deleted to break ordering cycle`),
			},
		},
		{
			ID:    "secure-boot-refused",
			Title: "Secure Boot refused a boot loader or kernel that no key of the firmware has signed",
			Fix:   "put the distribution's signed shim, GRUB and kernel into the image (packages shim-signed and grub-efi-*-signed), unchanged, and keep all three of one release: revoked old ones are refused too",
			Symptoms: []Symptom{
				symptom(Console, Certain, `Verification failed: \(0x[0-9A-Fa-f]+\) Security Violation|bad shim signature|BdsDxe: failed to load .*: (Access Denied|Security Violation)|prohibited by secure boot policy`),
			},
		},
		{
			ID:    "no-boot-loader",
			Title: "the firmware found nothing to boot",
			Fix:   "check the ESP and its fallback path EFI/BOOT for UEFI, the BIOS boot partition and MBR for BIOS",
			Symptoms: []Symptom{
				symptom(Console, Certain, `No bootable device|BdsDxe: No bootable option|BdsDxe: starting Boot\d+ "UiApp"|grub rescue>`),
			},
		},
	}
}
