package kubernetes

import (
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

const unitDir = "/usr/lib/systemd/system/"

func kubeletSteps(p *profiles.Profile) []plan.Step {
	file := func(why, path string, lines ...string) plan.Step {
		return plan.Step{Why: why, File: &plan.File{Path: path, Mode: 0o644, Content: strings.Join(lines, "\n") + "\n"}}
	}
	return []plan.Step{
		file("the kubelet as a service, as in upstream's package", unitDir+"kubelet.service",
			"[Unit]",
			"Description=kubelet: The Kubernetes Node Agent",
			"Documentation=https://kubernetes.io/docs/",
			"Wants=network-online.target",
			"After=network-online.target containerd.service",
			"",
			"[Service]",
			"ExecStart="+binDir+"/kubelet",
			"Restart=always",
			"RestartSec=10",
			"",
			"[Install]",
			"WantedBy=multi-user.target"),
		file("kubeadm tells the kubelet its arguments through these files", unitDir+"kubelet.service.d/10-kubeadm.conf",
			"[Service]",
			`Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"`,
			`Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"`,
			"# KUBELET_KUBEADM_ARGS, written by kubeadm init and join.",
			"EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env",
			"# KUBELET_EXTRA_ARGS, an administrator's last resort.",
			"EnvironmentFile=-/etc/default/kubelet",
			"ExecStart=",
			"ExecStart="+binDir+"/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS"),
		file("a node that is in no cluster yet boots without a service that fails for ever", unitDir+"kubelet.service.d/20-nodeimage.conf",
			"[Unit]",
			"# kubeadm writes this file before it starts the kubelet. Until then the kubelet",
			"# could only exit and be started again every ten seconds.",
			"ConditionPathExists=/var/lib/kubelet/config.yaml",
			"# It never gives up: the API server may be away for long.",
			"StartLimitIntervalSec=0"),
		file("kubelet arguments beyond kubeadm's", "/etc/default/kubelet", extraArgs(p)...),
		{Why: "static pods go here", Directory: &plan.Directory{Path: "/etc/kubernetes", Mode: 0o755}},
		{Why: "kubeadm's preflight wants it absent or empty; the kubelet wants it there", Directory: &plan.Directory{Path: "/etc/kubernetes/manifests", Mode: 0o700}},
		{Why: "kubeadm's preflight wants it enabled", Unit: &plan.Unit{Name: "kubelet.service", State: plan.UnitEnabled}},
	}
}

// extraArgs name the profile's resolv.conf only where kubeadm would not choose
// it by itself: resolved's list of upstream servers when resolved runs, and
// the kubelet's default otherwise.
func extraArgs(p *profiles.Profile) []string {
	if slices.Contains([]string{"", "/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"}, p.Kubernetes.ResolvConf) {
		return []string{"KUBELET_EXTRA_ARGS="}
	}
	return []string{
		"# Pods get these DNS servers; resolved's stub would loop in CoreDNS (coredns#2087).",
		"KUBELET_EXTRA_ARGS=--resolv-conf=" + p.Kubernetes.ResolvConf,
	}
}
