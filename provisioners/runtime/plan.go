// Package runtime is the Packer provisioner nodeimage-runtime: containerd,
// runc and the CNI plugins, and a configuration whose effect is read back from
// the installed containerd itself.
package runtime

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/parts"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

// Name is the plan's and the manifest fragment's.
const Name = "runtime"

const binDir = "/usr/local/bin"

// Endpoint is where containerd serves the CRI.
const Endpoint = "unix:///run/containerd/containerd.sock"

// Components that the plan places.
func Components(*profiles.Profile) []string { return []string{"containerd", "runc", "cni-plugins"} }

// cniPlugins are those of the upstream release, for a plan that is made
// before the component is there.
var cniPlugins = []string{"bandwidth", "bridge", "dhcp", "dummy", "firewall", "host-device", "host-local", "ipvlan", "loopback",
	"macvlan", "portmap", "ptp", "sbr", "static", "tap", "tuning", "vlan", "vrf"}

// Plan turns the profile into steps. With a nil set it names the component
// files; it then needs neither network nor root.
func Plan(p *profiles.Profile, set *parts.Set) (plan.Plan, error) {
	made := plan.Plan{Name: Name}
	placed := map[string]map[string]string{}
	place := func(why, component, file, to string) error {
		f, err := set.File(p, component, file, to)
		if err != nil {
			return err
		}
		made.Steps = append(made.Steps, plan.Step{Why: why, File: f})
		if placed[component] == nil {
			placed[component] = map[string]string{}
		}
		placed[component][file] = to
		return nil
	}
	for file, why := range orderedBinaries {
		if packaged(p, "containerd") {
			break // its package has put them in place
		}
		if err := place(why, "containerd", file, path.Join(binDir, file)); err != nil {
			return plan.Plan{}, err
		}
	}
	if !packaged(p, "runc") {
		if err := place("runs containers; its path is the profile's, since AppArmor's runc profile attaches by path (containerd#10542)",
			"runc", "runc", p.Runtime.RuncPath); err != nil {
			return plan.Plan{}, err
		}
	}
	plugins := set.Names("cni-plugins", cniPlugins)
	for _, needed := range []string{"bridge", "host-local", "loopback", "portmap"} {
		if !slices.Contains(plugins, needed) {
			return plan.Plan{}, fmt.Errorf("component cni-plugins %s has no %s, without which no pod gets a network", p.Components["cni-plugins"].Version, needed)
		}
	}
	for _, name := range plugins {
		if err := place("CNI plugins lie where containerd is told to look", "cni-plugins", name, path.Join(p.Runtime.CNIBinDir, name)); err != nil {
			return plan.Plan{}, err
		}
	}
	config, err := ConfigTOML(p)
	if err != nil {
		return plan.Plan{}, err
	}
	made.Steps = append(made.Steps,
		plan.Step{Why: "a CNI's configuration goes here", Directory: &plan.Directory{Path: p.Runtime.CNIConfDir, Mode: 0o755}},
		plan.Step{Why: "containerd and the kubelet use one cgroup driver (kubernetes#110177), and kubeadm's pause image", File: &plan.File{Path: ConfigPath, Mode: 0o644, Content: config}},
		plan.Step{Why: "containers outlive a restart of containerd (containerd docs/ops.md)", File: &plan.File{Path: unitPath(p), Mode: 0o644, Content: unit(p)}},
		plan.Step{Why: "containerd runs from boot on", Unit: &plan.Unit{Name: "containerd.service", State: plan.UnitEnabled}},
	)
	var fragment *manifest.Fragment
	if set != nil {
		fragment = &manifest.Fragment{}
		for _, name := range Components(p) {
			fragment.Components = append(fragment.Components, set.Record(name, placed[name]))
		}
	}
	last, err := parts.Fragment(Name, fragment)
	if err != nil {
		return plan.Plan{}, err
	}
	made.Steps = append(made.Steps, last)
	return made, made.Validate()
}

// orderedBinaries yields containerd's files with what each is for. The daemon
// comes last, so that it never starts without its shim.
func orderedBinaries(yield func(string, string) bool) {
	for _, b := range [][2]string{
		{"containerd-shim-runc-v2", "keeps a pod's containers while containerd is away"},
		{"ctr", "imports the preloaded images, and looks into a broken node"},
		{"containerd", "the container runtime that the kubelet talks to"},
	} {
		if !yield(b[0], b[1]) {
			return
		}
	}
}

// packaged tells whether a distribution package brings the component's programs.
func packaged(p *profiles.Profile, component string) bool {
	return p.Components[component].Source == profiles.SourceDeb
}

// unitPath is where containerd's unit goes: in the place of a package's own, it
// would be gone with the package's next version.
func unitPath(p *profiles.Profile) string {
	if packaged(p, "containerd") {
		return "/etc/systemd/system/containerd.service"
	}
	return "/usr/lib/systemd/system/containerd.service"
}

// unit follows containerd's own unit and docs/ops.md.
func unit(p *profiles.Profile) string {
	return strings.Join([]string{
		"[Unit]",
		"Description=containerd container runtime",
		"Documentation=https://containerd.io",
		"After=network.target local-fs.target dbus.service apparmor.service",
		"",
		"[Service]",
		"Type=notify",
		"ExecStartPre=-/sbin/modprobe overlay",
		"ExecStart=" + containerdPath(p),
		"Restart=always",
		"RestartSec=5",
		"# Only the daemon is stopped: shims and containers live on (docs/ops.md).",
		"KillMode=process",
		"# systemd leaves the cgroups below this service alone (docs/ops.md).",
		"Delegate=yes",
		"OOMScoreAdjust=-999",
		"TasksMax=infinity",
		"LimitNPROC=infinity",
		"LimitCORE=infinity",
		"# Pods inherit this one: containerd 2.0 dropped the line (containerd#8924), and",
		"# an infinite limit makes programs that close every descriptor crawl.",
		"LimitNOFILE=" + p.Runtime.NoFile,
		"",
		"[Install]",
		"WantedBy=multi-user.target",
		"",
	}, "\n")
}
