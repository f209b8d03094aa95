package host

import (
	"fmt"
	"maps"
	"slices"

	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/provisioners/plan"
)

func kernelSteps(p *profiles.Profile) []plan.Step {
	var steps []plan.Step
	if len(p.Host.Modules) > 0 {
		lines := []string{
			"# Loaded at boot, since nothing else promises them: without br_netfilter the",
			"# bridge sysctls do not exist and flannel stops (flannel-io/flannel#2066).",
		}
		steps = append(steps, conf("containers and CNI plugins find their kernel modules (kubernetes#123464 stopped checking)",
			"/etc/modules-load.d/90-nodeimage.conf", append(lines, p.Host.Modules...)...))
	}
	if len(p.Host.Sysctls) > 0 {
		lines := []string{
			"# ip_forward is what kubeadm's preflight checks; the inotify limits are what",
			"# a node with dozens of pods runs out of (kubernetes/kubernetes#104303).",
		}
		for _, key := range slices.Sorted(maps.Keys(p.Host.Sysctls)) {
			lines = append(lines, fmt.Sprintf("%s = %s", key, p.Host.Sysctls[key]))
		}
		steps = append(steps, conf("kernel settings survive a reboot", "/etc/sysctl.d/90-nodeimage.conf", lines...))
	}
	return steps
}

// swapSteps keep swap off at boot. They never call swapoff: in a chroot that
// would take the build machine's swap away.
func swapSteps() []plan.Step {
	const entry = `^[^#]*[[:space:]]swap[[:space:]]`
	return []plan.Step{
		{
			Why: "the kubelet refuses to run with swap on unless it was told to",
			Command: &plan.Command{
				Argv:   []string{"sed", "-i", "-E", "/" + entry + "/d", "/etc/fstab"},
				Unless: []string{"sh", "-c", `! grep -qsE "$1" /etc/fstab`, "sh", entry},
			},
		},
		{
			Why:    "no swap file or zram device either",
			Remove: &plan.Remove{Paths: []string{"/swapfile", "/swap.img", "/etc/systemd/zram-generator.conf", "/etc/systemd/system/*.swap"}},
		},
		{
			Why:  "a swap partition found by its GPT type stays off too",
			Unit: &plan.Unit{Name: "swap.target", State: plan.UnitMasked},
		},
	}
}

// iptablesSteps put every iptables front end on nf_tables. Rules written half
// with the legacy tables break Services (kubernetes#71305).
func iptablesSteps(p *profiles.Profile) []plan.Step {
	if !hasPackage(p, "iptables") {
		return nil
	}
	const each = `for n in iptables ip6tables arptables ebtables; do
  v=$(update-alternatives --query "$n" 2>/dev/null | sed -n 's/^Value: //p')
  case $v in ""|*-nft) ;; *) `
	return []plan.Step{{
		Why: "node, kube-proxy and CNI plugins write to the same tables: nf_tables (kubernetes#71305)",
		Command: &plan.Command{
			Argv:   []string{"sh", "-euc", each + `update-alternatives --set "$n" "/usr/sbin/$n-nft";; esac` + "\ndone"},
			Unless: []string{"sh", "-c", each + "exit 1;; esac\ndone"},
		},
	}}
}
