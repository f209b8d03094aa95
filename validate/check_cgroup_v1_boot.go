package validate

import (
	"context"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/bootloader"
)

func cgroupV1Boot() Check {
	return Check{
		ID:    "cgroup-v1-boot",
		Title: "the node boots with cgroup v1, on which the kubelet does not run",
		Why: `From 1.35 on the kubelet exits: kubelet is configured to not run on a host using cgroup v1. runc and
containerd have deprecated cgroup v1; systemd 258 has removed it, and with such a command line it does not
boot as intended.`,
		Reads:      "the kernel command lines of the boot loader, and those it will get with the next kernel",
		Fix:        "remove systemd.unified_cgroup_hierarchy and systemd.legacy_systemd_cgroup_controller from the kernel command line",
		Severity:   Error,
		References: []string{"kubernetes/enhancements#5573", "https://github.com/systemd/systemd/blob/main/NEWS"},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			b, err := n.bootloader()
			if err != nil {
				return nil, err
			}
			var found []Finding
			seen := map[string]bool{}
			look := func(args bootloader.CommandLine, where string) {
				for _, key := range []string{"systemd.unified_cgroup_hierarchy", "systemd.legacy_systemd_cgroup_controller", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE", "cgroup_disable"} {
					a, ok := args.Last(key)
					if !ok || !selectsV1(key, a.Value, a.HasValue) {
						continue
					}
					f := Finding{Key: a.Key, Got: a.String() + where, Want: "cgroup v2, systemd's default",
						Fix: "remove " + a.String() + " from " + a.Pos.File + ", then update-grub"}.at(a.Pos)
					if id := f.File + f.Key; !seen[id] {
						seen[id] = true
						found = append(found, f)
					}
				}
			}
			for _, e := range b.Boots() {
				look(e.Args, "")
			}
			for _, i := range b.Intents {
				look(i.Args, ", from the next kernel update on")
			}
			return found, nil
		},
	}
}

// selectsV1 tells whether a word of the command line takes cgroup v2, or a
// controller that the kubelet needs, away.
func selectsV1(key, value string, has bool) bool {
	no := strings.Contains(" 0 no false off n ", " "+value+" ") && value != ""
	switch key {
	case "systemd.unified_cgroup_hierarchy":
		return has && no
	case "cgroup_disable":
		for c := range strings.SplitSeq(value, ",") {
			if strings.Contains(" cpu cpuset memory pids ", " "+c+" ") {
				return true
			}
		}
		return false
	case "systemd.legacy_systemd_cgroup_controller":
		return !has || !no
	}
	return has && !no
}
