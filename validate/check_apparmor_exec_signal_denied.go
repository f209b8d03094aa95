package validate

import (
	"context"
	"fmt"
	"strings"
)

func apparmorExecSignalDenied() Check {
	return Check{
		ID:    "apparmor-exec-signal-denied",
		Title: "AppArmor does not let processes started by exec signal each other on this kernel",
		Why: `From kernel 6.17 on, what kubectl exec and exec probes start has the label
cri-containerd.apparmor.d//&unconfined, which the profile's rules for signals do not name. Go programs that
preempt their own threads (signal=urg) and shells that kill their jobs are denied. Open upstream. All reports are
of Ubuntu 25.10 and 26.04 with AppArmor 5; Debian's kernel 6.17.13 with AppArmor 4.1.0 did not show it.`,
		Reads:      "containerd's version and each kernel's",
		Scope:      "nodes with containerd, AppArmor and a kernel of 6.17 or later",
		Fix:        "stay on a kernel before 6.17 until containerd has the fix",
		Severity:   Warning,
		References: []string{"containerd/containerd#12886", "k3s-io/k3s#13625", "canonical/k8s-snap#2750"},
		AppliesTo: func(n *Node) (string, error) {
			return n.onKernels("apparmor-exec-signal-denied")
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			p, err := n.program("containerd")
			if err != nil {
				return nil, err
			}
			_, hit, err := n.kernelFault("apparmor-exec-signal-denied", p.Version)
			if err != nil || len(hit) == 0 {
				return nil, err
			}
			return []Finding{{File: p.Path, Key: "version", Got: fmt.Sprintf("containerd %s on kernel %s", p.Version, strings.Join(hit, ", ")),
				Want: "a kernel before 6.17, or a containerd with the fix"}}, nil
		},
	}
}
