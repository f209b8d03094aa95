package validate

import (
	"context"
	"fmt"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/apparmor"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/containerd"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func apparmorRuncSignalDenied() Check {
	return Check{
		ID:    "apparmor-runc-signal-denied",
		Title: "AppArmor does not let runc stop containers: pods stay in Terminating",
		Why: `AppArmor 4 ships /etc/apparmor.d/runc, which gives runc the label "runc" in place of "unconfined".
The profile that containerd before 1.6.32, 1.7.16 and 2.0.0 loads for containers accepts signals from
"unconfined" only, so neither SIGTERM nor SIGKILL arrives: "unable to signal init: permission denied".
Privileged containers such as kube-proxy are spared, which is why a quick look finds nothing.`,
		Reads:      "the AppArmor profile that attaches to the runc which containerd starts, and the profile built into containerd",
		Scope:      "nodes with containerd and AppArmor",
		Fix:        "upgrade containerd to 1.7.18 or later and reboot (a loaded profile stays until then), or install runc as /usr/local/sbin/runc",
		Severity:   Error,
		References: []string{"containerd/containerd#10542", "opencontainers/runc#4281", "containerd/containerd#10123", "https://bugs.launchpad.net/ubuntu/+source/containerd/+bug/2065423"},
		AppliesTo:  confines,
		Run:        runAppArmorRuncSignalDenied,
	}
}

func runAppArmorRuncSignalDenied(_ context.Context, n *Node) ([]Finding, error) {
	ctd, err := n.program("containerd")
	if err != nil {
		return nil, err
	}
	fixed, err := n.allowsRuncSignals(ctd)
	if err != nil || fixed {
		return nil, err
	}
	copies, err := n.runcs()
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, r := range copies {
		if ok, err := n.exists(r.Path); err != nil {
			return nil, err
		} else if !ok {
			continue // runc-missing says so
		}
		label, err := n.label(r.Path)
		if err != nil {
			return nil, err
		}
		// Only a label of its own is a peer that the profile does not know.
		if label == nil {
			continue
		}
		found = append(found, Finding{
			Key:  "profile " + label.Name,
			Got:  fmt.Sprintf("%s runs with the label %q, from which the profile in containerd %s accepts no signal", r.Path, label.Name, ctd.Version),
			Want: "containerd with `signal (receive) peer=runc` in its profile (1.6.32, 1.7.16, 2.0.0 and later), or runc outside of " + strings.Join(label.Attachments, ", "),
			Fix: fmt.Sprintf("# upgrade containerd to 1.7.18 or later and reboot, or move runc out of the profile's way:\ninstall -m 0755 %s /usr/local/sbin/runc\n# and in %s, in the options of every runc handler:\nBinaryName = \"/usr/local/sbin/runc\"",
				r.Path, containerd.DefaultPath),
		}.at(label.Pos))
	}
	return found, nil
}

// label is the AppArmor profile that a program runs with when an unconfined
// process starts it, nil if none. Profiles attach to the path behind links.
func (n *Node) label(program string) (*apparmor.Profile, error) {
	policy, err := n.apparmor()
	if err != nil {
		return nil, err
	}
	real, err := n.Root.Resolve(source.Name(program))
	if err != nil {
		return nil, err
	}
	return policy.Attaching(source.Path(real))
}
