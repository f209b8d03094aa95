// Package seal is the Packer provisioner nodeimage-seal: it comes last and
// takes out of the image whatever belongs to one machine or to its making.
package seal

import (
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/parts"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

// Name is the plan's.
const Name = "seal"

// Components that the plan places: none.
func Components(*profiles.Profile) []string { return nil }

// Plan lists what is removed. It is the same for every profile and leaves
// nothing in the manifest, so both arguments may be nil.
//
// Python's byte code stays: Debian's packages make it at installation, and
// without it cloud-init would compile itself at each machine's first boot.
func Plan(*profiles.Profile, *parts.Set) (plan.Plan, error) {
	made := plan.Plan{Name: Name, Steps: []plan.Step{
		{
			Why: "a running journald lets go of /var/log before its files go",
			Command: &plan.Command{
				Argv:       []string{"sh", "-c", "if [ -d /run/systemd/system ]; then journalctl --relinquish-var; fi"},
				Idempotent: true,
			},
		},
		// Empty and not "uninitialized": systemd makes an ID for both, but the
		// word also says "first boot", at which it enables every unit that a
		// preset knows, those included that this image disables.
		{Why: "each machine makes its own machine-id; two with one ID share a DHCP lease (lxd#8717)",
			File: &plan.File{Path: "/etc/machine-id", Mode: 0o444}},
		{Why: "D-Bus has no ID of its own",
			Link: &plan.Link{Path: "/var/lib/dbus/machine-id", Target: "/etc/machine-id"}},
		{Why: "the image carries no machine's name; cloud-init or DHCP gives one",
			File: &plan.File{Path: "/etc/hostname", Mode: 0o644, Content: "localhost\n"}},
		remove("each machine makes its own host keys", "/etc/ssh/ssh_host_*_key", "/etc/ssh/ssh_host_*_key.pub"),
		remove("nobody's key or password is known to every machine made from this image",
			"/root/.ssh/authorized_keys", "/root/.ssh/known_hosts"),
		findFiles("neither a user's keys nor what was typed", "/home", `\( -name authorized_keys -o -name known_hosts -o -name .bash_history \)`),
		remove("cloud-init runs as on a new machine",
			"/var/lib/cloud/*", "/etc/cloud/cloud-init.disabled", "/etc/cloud/cloud.cfg.d/99-installer.cfg",
			"/etc/cloud/cloud.cfg.d/subiquity-disable-cloudinit-networking.cfg",
			"/etc/netplan/50-cloud-init.yaml", "/etc/systemd/network/10-cloud-init-*", "/etc/udev/rules.d/70-persistent-net.rules"),
		findFiles("logs tell of the building machine", "/var/log", ""),
		remove("the journal too", "/var/log/journal/*"),
		remove("package lists are old by the time anybody needs them",
			"/var/lib/apt/lists/*", "/var/cache/apt/*.bin", "/var/cache/apt/archives/*.deb", "/var/cache/apt/archives/partial/*"),
		remove("leases belong to one machine", "/var/lib/dhcp/*", "/var/lib/dhclient/*", "/var/lib/NetworkManager/*", "/var/lib/systemd/network/*"),
		remove("a random seed that is used twice is none",
			"/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed", "/boot/loader/random-seed", "/boot/efi/loader/random-seed"),
		remove("secrets and state of one machine",
			"/var/lib/systemd/credential.secret", "/var/lib/systemd/timers/*", "/var/lib/systemd/timesync/*", "/var/lib/systemd/coredump/*",
			"/var/lib/systemd/rfkill/*", "/var/lib/private/systemd/*", "/etc/nvme/hostid", "/etc/nvme/hostnqn",
			"/var/lib/containerd/io.containerd.grpc.v1.introspection/uuid"),
		remove("what was typed while the image was made",
			"/root/.bash_history", "/root/.lesshst", "/root/.viminfo", "/root/.wget-hsts", "/root/.python_history", "/root/.cache"),
		remove("copies of old accounts and settings",
			"/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-", "/etc/.pwd.lock",
			"/var/backups/*", "/var/lib/dpkg/*-old", "/var/cache/debconf/*-old", "/etc/resolv.conf.*", "/var/cache/ldconfig/aux-cache"),
		// After all uploads: the executor's own pass through /var/tmp.
		remove("nothing temporary is left", "/tmp/*", "/tmp/.[!.]*", "/var/tmp/*", "/var/tmp/.[!.]*"),
		{Why: "no account of the building machine has root's rights; this very login may have them by it",
			Remove: &plan.Remove{Paths: []string{"/etc/sudoers.d/90-cloud-init-users"}}, Last: true},
	}}
	return made, made.Validate()
}

func remove(why string, paths ...string) plan.Step {
	return plan.Step{Why: why, Remove: &plan.Remove{Paths: paths}}
}

// findFiles removes the regular files below dir that match find's test, and
// leaves directories: packages own some and expect them.
func findFiles(why, dir, test string) plan.Step {
	find := "find " + dir + " -xdev -type f " + test
	return plan.Step{Why: why, Command: &plan.Command{
		Argv:   []string{"sh", "-c", find + " -delete"},
		Unless: []string{"sh", "-c", `test -z "$(` + find + ` -print -quit)"`},
	}}
}
