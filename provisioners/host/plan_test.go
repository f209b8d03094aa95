package host

import (
	"strings"
	"testing"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

func debian13(t *testing.T) *profiles.Profile {
	t.Helper()
	p, err := profiles.Load("debian-13")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// without drops a package from every group.
func without(p *profiles.Profile, name string) {
	for group, packages := range p.Packages.Include {
		var kept []string
		for _, one := range packages {
			if one != name {
				kept = append(kept, one)
			}
		}
		p.Packages.Include[group] = kept
	}
}

// What the profile does not have needs no settings, and settings for it would
// break the image or mislead its reader.
func TestStepsFollowTheProfile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*profiles.Profile)
		gone   string // in what the full plan does
	}{
		{"no cloud-init", func(p *profiles.Profile) { without(p, "cloud-init") }, "/etc/cloud/"},
		{"no ssh", func(p *profiles.Profile) { without(p, "openssh-server") }, "sshd_config.d"},
		{"no repart", func(p *profiles.Profile) { without(p, "systemd-repart") }, "/etc/repart.d/"},
		{"no repart: cloud-init grows the root", func(p *profiles.Profile) { without(p, "systemd-repart") }, "growpart:"},
		{"no iptables", func(p *profiles.Profile) { without(p, "iptables") }, "update-alternatives"},
		{"no resolved", func(p *profiles.Profile) { p.Kubernetes.ResolvConf = "/etc/resolv.conf" }, "/etc/resolv.conf"},
		{"no networkd", func(p *profiles.Profile) { p.Host.EnableUnits = []string{"ssh.service"} }, "networkd"},
		{"no networkd: cloud-init chooses", func(p *profiles.Profile) { p.Host.EnableUnits = []string{"ssh.service"} }, "renderers:"},
		{"no locale", func(p *profiles.Profile) { p.Host.Locale = "" }, "locale.conf"},
		{"no modules", func(p *profiles.Profile) { p.Host.Modules = nil }, "modules-load.d"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := debian13(t)
			if full := text(t, p); !strings.Contains(full, test.gone) {
				t.Fatalf("the full plan has no %q", test.gone)
			}
			test.change(p)
			p.Host.EnableUnits = withoutPrefix(p.Host.EnableUnits, test.gone)
			if got := text(t, p); strings.Contains(got, test.gone) {
				t.Errorf("the plan still has %q", test.gone)
			}
		})
	}
}

// What only some profiles need.
func TestStepsOfOtherProfiles(t *testing.T) {
	t.Parallel()
	load := func(name string) *profiles.Profile {
		p, err := profiles.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if got := text(t, debian13(t)); strings.Contains(got, "snapd") {
		t.Error("Debian has steps about snapd")
	}
	ubuntu := load("ubuntu-24.04")
	got := text(t, ubuntu)
	for _, want := range []string{"purge snapd", "Pin-Priority: -1", "renderers: [networkd]", "ssh.socket disabled", "unattended-upgrades.service masked"} {
		if !strings.Contains(got, want) {
			t.Errorf("the plan of ubuntu-24.04 has no %q", want)
		}
	}
	if strings.Contains(got, "repart") {
		t.Error("ubuntu-24.04 grows by systemd-repart, which it does not install")
	}
	ubuntu.Packages.Include["network"] = append(ubuntu.Packages.Include["network"], "netplan.io", "snapd")
	if got := text(t, ubuntu); !strings.Contains(got, "renderers: [netplan]") || strings.Contains(got, "purge") {
		t.Error("a profile with netplan.io and snapd is not given them")
	}
}

func withoutPrefix(units []string, prefix string) []string {
	var kept []string
	for _, u := range units {
		if !strings.HasPrefix(u, prefix) {
			kept = append(kept, u)
		}
	}
	return kept
}

func text(t *testing.T, p *profiles.Profile) string {
	t.Helper()
	made, err := Plan(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range made.Steps {
		b.WriteString(s.What() + "\n")
		if s.File != nil {
			b.WriteString(s.File.Content)
		}
		if s.Command != nil {
			b.WriteString(strings.Join(s.Command.Argv, " "))
		}
	}
	return b.String()
}

// Components that come in packages are held, and what comes otherwise is no
// package's.
func TestPackagesOfComponentsAreHeld(t *testing.T) {
	t.Parallel()
	p, err := profiles.Load("ubuntu-24.04-docker")
	if err != nil {
		t.Fatal(err)
	}
	if got := text(t, p); !strings.Contains(got, "run apt-mark hold containerd.io\n") {
		t.Errorf("containerd.io is not held:\n%s", got)
	}
	if got := text(t, debian13(t)); strings.Contains(got, "apt-mark") {
		t.Errorf("something is held:\n%s", got)
	}
}
