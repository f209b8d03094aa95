package validate

import (
	"context"
	"path"
	"regexp"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func unattendedUpgradesActive() Check {
	return Check{
		ID:    "unattended-upgrades-active",
		Title: "packages upgrade by themselves under running pods",
		Why: `containerd's package restarts the service when it is upgraded. Ubuntu 24.04 went from containerd 1.7 to
2.2 in its updates, so a node crossed a major release overnight; an upgraded containerd also keeps the old
AppArmor profile loaded until the next boot.`,
		Reads:      "apt's timers, APT::Periodic and unattended-upgrades",
		Fix:        "systemctl disable apt-daily.timer apt-daily-upgrade.timer\nsystemctl mask apt-daily.service apt-daily-upgrade.service",
		Severity:   Warning,
		References: []string{"https://bugs.launchpad.net/ubuntu/+source/containerd/+bug/2127661", "https://bugs.launchpad.net/bugs/1870514"},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			if ok, err := n.exists("/usr/bin/unattended-upgrade"); err != nil || !ok {
				return nil, err
			}
			value, at, err := n.aptSetting("APT::Periodic::Unattended-Upgrade")
			if err != nil || value == "" || value == "0" {
				return nil, err
			}
			units, err := n.units()
			if err != nil {
				return nil, err
			}
			svc, err := units.Unit("apt-daily-upgrade.service")
			if err != nil {
				return nil, err
			}
			timers, err := units.Timers()
			if err != nil {
				return nil, err
			}
			for _, t := range timers {
				if t.Unit == "apt-daily-upgrade.timer" && t.By != "" && svc.State == "loaded" {
					return []Finding{Finding{Key: "APT::Periodic::Unattended-Upgrade", Got: "on, started by " + t.Unit, Want: "off on a node"}.at(at)}, nil
				}
			}
			return nil, nil
		},
	}
}

// aptSetting finds a setting of apt.conf in its usual one-line form; the last
// file wins.
func (n *Node) aptSetting(name string) (value string, at source.Position, err error) {
	pattern := regexp.MustCompile(`^\s*` + regexp.QuoteMeta(name) + `\s+"?([^";]*)"?\s*;`)
	files := []string{}
	entries, err := n.list("/etc/apt/apt.conf.d")
	if err != nil {
		return "", at, err
	}
	for _, e := range entries {
		if ext := path.Ext(e.Name()); !e.IsDir() && (ext == "" || ext == ".conf") {
			files = append(files, path.Join("/etc/apt/apt.conf.d", e.Name()))
		}
	}
	for _, f := range append(files, "/etc/apt/apt.conf") {
		data, err := n.read(f)
		if err != nil {
			return "", at, err
		}
		for _, l := range source.Lines(f, data) {
			if m := pattern.FindStringSubmatch(l.Text); m != nil {
				value, at = m[1], l.Pos
			}
		}
	}
	return value, at, nil
}
