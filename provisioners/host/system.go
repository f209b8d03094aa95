package host

import (
	"path"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

// usesRepart tells whether systemd-repart grows the root. A cloud image has its
// own way of growing, which fits its fstab.
func usesRepart(p *profiles.Profile) bool {
	return hasPackage(p, "systemd-repart") && !p.FromCloudImage()
}

// growSteps grow the root partition at boot. The file system follows by
// x-systemd.growfs in the fstab that the builder writes.
func growSteps(p *profiles.Profile) []plan.Step {
	if !usesRepart(p) {
		return nil
	}
	return []plan.Step{conf("the root partition grows to the disk's size at boot", "/etc/repart.d/50-root.conf",
		"# Partitions without a file here are left as they are.",
		"[Partition]",
		"Type=root")}
}

func sshSteps(p *profiles.Profile) []plan.Step {
	if !hasPackage(p, "openssh-server") {
		return nil
	}
	return []plan.Step{
		conf("keys only; cloud-init's own file comes first and may say otherwise", "/etc/ssh/sshd_config.d/60-nodeimage.conf",
			"PasswordAuthentication no",
			"KbdInteractiveAuthentication no",
			"PermitRootLogin prohibit-password",
			"X11Forwarding no",
			"# A node whose DNS is slow or dead still lets its administrator in.",
			"UseDNS no"),
		conf("a sealed image has no host keys, and Debian's sshd does not start without", "/etc/systemd/system/nodeimage-ssh-keys.service",
			"# Debian's own sshd-keygen.service runs only on systemd's first boot, and a boot",
			"# with an empty machine-id is none (machine-id(5)).",
			"[Unit]",
			"Description=Make SSH host keys where cloud-init did not",
			"ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key",
			"After=cloud-init.service cloud-init-network.service",
			"Before=ssh.service ssh.socket",
			"",
			"[Service]",
			"Type=oneshot",
			"RemainAfterExit=yes",
			"ExecStart=/usr/bin/ssh-keygen -A",
			"",
			"[Install]",
			"WantedBy=multi-user.target"),
		{
			Why:  "each machine makes its own host keys at its first boot",
			Unit: &plan.Unit{Name: "nodeimage-ssh-keys.service", State: plan.UnitEnabled},
		},
	}
}

func journalSteps(p *profiles.Profile) []plan.Step {
	return []plan.Step{conf("the journal survives a reboot and cannot fill the disk", "/etc/systemd/journald.conf.d/50-nodeimage.conf",
		"[Journal]",
		"Storage=persistent",
		"SystemMaxUse="+p.Host.JournalMax)}
}

// upgradeSteps keep packages from changing, and services from restarting,
// under running pods. An upgrade is a new image.
func upgradeSteps() []plan.Step {
	return []plan.Step{
		conf("no package changes by itself under running pods", "/etc/apt/apt.conf.d/90-nodeimage",
			"// An unattended upgrade once took nodes from containerd 1.7 to 2.2 (Launchpad 2127661).",
			`APT::Periodic::Enable "0";`,
			`APT::Periodic::Unattended-Upgrade "0";`,
			`APT::Periodic::Update-Package-Lists "0";`),
		conf("needrestart, once somebody installs it, leaves the node's services alone", "/etc/needrestart/conf.d/90-nodeimage.conf",
			"# needrestart spares Docker by default, but neither containerd nor the kubelet.",
			`$nrconf{override_rc}->{qr(^containerd\.service$)} = 0;`,
			`$nrconf{override_rc}->{qr(^kubelet\.service$)} = 0;`,
			"# Whatever else an upgrade would restart, it only lists.",
			`$nrconf{restart} = 'l';`),
	}
}

// holdSteps keep the packages that bring components of the node at the pinned
// version when somebody upgrades the rest.
func holdSteps(p *profiles.Profile) []plan.Step {
	names := p.ComponentPackages()
	if len(names) == 0 {
		return nil
	}
	return []plan.Step{{
		Why: "an upgrade of the distribution takes no component to a version that nobody has tried (Launchpad 2127661)",
		Command: &plan.Command{
			Argv:   append([]string{"apt-mark", "hold"}, names...),
			Unless: append([]string{"sh", "-c", `for p do [ "$(dpkg-query -W -f '${db:Status-Want}' "$p")" = hold ] || exit 1; done`, "sh"}, names...),
		},
	}}
}

// snapSteps take snapd away where Ubuntu brought it: it updates itself and what
// it holds whenever it likes.
func snapSteps(p *profiles.Profile) []plan.Step {
	if p.OS.Distribution != "ubuntu" || hasPackage(p, "snapd") {
		return nil
	}
	return []plan.Step{
		{
			Why: "nothing on the node updates itself: snaps do",
			Command: &plan.Command{
				Argv: []string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--quiet=2", "purge", "snapd"},
				// dpkg knows a package that others only mention, too.
				Unless: []string{"sh", "-c", `! dpkg-query -W -f '${db:Status-Status}\n' snapd 2>/dev/null | grep -qvx not-installed`},
			},
		},
		conf("nothing brings snapd back by recommending it", "/etc/apt/preferences.d/90-nodeimage-snapd",
			"Package: snapd",
			"Pin: release *",
			"Pin-Priority: -1"),
	}
}

// identitySteps give the image a language, a time zone and nobody's name.
func identitySteps(p *profiles.Profile) []plan.Step {
	steps := []plan.Step{
		conf("the image carries no machine's name; cloud-init or DHCP gives one", "/etc/hostname", "localhost"),
		conf("the loopback names are there without any resolver", "/etc/hosts",
			"127.0.0.1 localhost",
			"::1 localhost ip6-localhost ip6-loopback"),
	}
	if p.Host.Locale != "" {
		steps = append(steps,
			conf("the profile's locale", "/etc/locale.conf", "LANG="+p.Host.Locale),
			plan.Step{Why: "PAM reads the locale by this name", Link: &plan.Link{Path: "/etc/default/locale", Target: "../locale.conf"}})
	}
	if p.Host.TimeZone != "" {
		steps = append(steps, plan.Step{Why: "the profile's time zone",
			Link: &plan.Link{Path: "/etc/localtime", Target: path.Join("/usr/share/zoneinfo", p.Host.TimeZone)}})
	}
	return steps
}
