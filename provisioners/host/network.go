package host

import (
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

// uplinkResolvConf is where systemd-resolved lists the real upstream servers.
const uplinkResolvConf = "/run/systemd/resolve/resolv.conf"

// resolverSteps set up systemd-resolved when the profile's kubelet reads
// resolved's list of upstream servers, and leave /etc/resolv.conf alone
// otherwise.
func resolverSteps(p *profiles.Profile) []plan.Step {
	if p.Kubernetes.ResolvConf != uplinkResolvConf {
		return nil
	}
	return []plan.Step{
		{
			Why:  "the node asks resolved's stub; pods get the upstream servers, for the stub would loop in CoreDNS (coredns#2087)",
			Link: &plan.Link{Path: "/etc/resolv.conf", Target: "../run/systemd/resolve/stub-resolv.conf"},
		},
		conf("cluster DNS works on a node that has no DNS server of its own", "/etc/systemd/resolved.conf.d/50-nodeimage.conf",
			"[Resolve]",
			"# Without any server the list that pods get is empty, and CoreDNS refuses to",
			"# start on an empty list. This one is reserved for documentation (RFC 5737),",
			"# so it never answers; it is used only while no link brings a server.",
			"FallbackDNS=192.0.2.53",
			"# Names on the link are not the cluster's business.",
			"LLMNR=no",
			"MulticastDNS=no"),
	}
}

func usesNetworkd(p *profiles.Profile) bool {
	return slices.Contains(p.Host.EnableUnits, "systemd-networkd.service")
}

// renderer is what cloud-init writes a network configuration for: netplan where
// the profile has it, whose own files are for networkd in turn.
func renderer(p *profiles.Profile) string {
	switch {
	case hasPackage(p, "netplan.io"):
		return "netplan"
	case usesNetworkd(p):
		return "networkd"
	}
	return ""
}

func networkSteps(p *profiles.Profile) []plan.Step {
	if !usesNetworkd(p) {
		return nil
	}
	return []plan.Step{
		conf("CNI plugins keep the routes and rules they add (kops#17433)", "/etc/systemd/networkd.conf.d/50-nodeimage.conf",
			"[Network]",
			"# networkd removes what it does not know whenever a link is set up again.",
			"ManageForeignRoutes=no",
			"ManageForeignRoutingPolicyRules=no"),
		conf("a node without network configuration from outside uses DHCP", "/etc/systemd/network/90-nodeimage-dhcp.network",
			"# cloud-init's files are called 10-cloud-init-* and come first.",
			"[Match]",
			"Name=en* eth*",
			"# Only real network cards: a CNI's veth and bridge links are not ours.",
			"Kind=!*",
			"",
			"[Network]",
			"DHCP=ipv4",
			"",
			"[DHCPv4]",
			"# Two clones whose machine-id was copied still get a lease each (lxd#8717).",
			"ClientIdentifier=mac"),
		conf("boot waits for one link, not for every card in the machine", "/etc/systemd/system/systemd-networkd-wait-online.service.d/50-nodeimage.conf",
			"[Service]",
			"ExecStart=",
			"ExecStart=/usr/lib/systemd/systemd-networkd-wait-online --any --timeout=60"),
	}
}

func cloudInitSteps(p *profiles.Profile) []plan.Step {
	if !hasPackage(p, "cloud-init") {
		return nil
	}
	lines := []string{
		"#cloud-config",
		"# On one line: ds-identify reads it with a shell, before Python starts.",
		"datasource_list: [" + strings.Join(p.Host.Datasources, ", ") + "]",
		"# The image's apt sources are the profile's; no mirror is looked for.",
		"apt:",
		"  preserve_sources_list: true",
		"# The locale is set in the image.",
		"locale: false",
		"# RSA takes seconds on a slow machine, and nothing needs it.",
		"ssh_genkeytypes: [ed25519, ecdsa]",
	}
	if usesRepart(p) {
		lines = append(lines,
			"# systemd-repart and systemd-growfs have grown the root by now.",
			"growpart:",
			"  mode: \"off\"",
			"resize_rootfs: false")
	}
	if renderer := renderer(p); renderer != "" {
		lines = append(lines,
			"system_info:",
			"  network:",
			"    renderers: ["+renderer+"]")
	}
	return []plan.Step{
		conf("cloud-init looks only where the profile says, and leaves alone what the image sets", "/etc/cloud/cloud.cfg.d/95_nodeimage.cfg", lines...),
		conf("boot does not wait for data sources that are not there", "/etc/cloud/ds-identify.cfg",
			"policy: search,found=first,maybe=none,notfound=disabled"),
	}
}
