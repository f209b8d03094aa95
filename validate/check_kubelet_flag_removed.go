package validate

import (
	"context"
	"fmt"
)

func kubeletFlagRemoved() Check {
	return Check{
		ID:    "kubelet-flag-removed",
		Title: "the kubelet is given a flag that it no longer has, and does not start",
		Why: `Flags live on in /etc/default/kubelet and in drop-ins of older images. --pod-infra-container-image is
gone since 1.35, cAdvisor's flags since 1.37; the kubelet says "unknown flag" and exits, again and again. A
flag that the next release drops is a warning.`,
		Reads:      "the kubelet's command line: unit, drop-ins, environment files",
		Scope:      "nodes with a kubelet",
		Fix:        "remove the flag; most have a key in the kubelet's configuration file",
		Severity:   Error,
		References: []string{"kubernetes/kubernetes#133779", "https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/"},
		AppliesTo:  readsKubelet,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			k, err := n.kubelet()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, flag := range k.Flags {
				f := Finding{Key: "--" + flag.Name, Want: "no such flag", Fix: fmt.Sprintf("remove --%s from %s", flag.Name, flag.Pos.File)}.at(flag.Pos)
				switch {
				case flag.Removed > 0 && k.Version.Minor >= flag.Removed:
					f.Got = fmt.Sprintf("--%s, which the kubelet does not have since 1.%d", flag.Name, flag.Removed)
				case flag.Removed > 0:
					f.Got, f.Severity = fmt.Sprintf("--%s, which the kubelet loses with 1.%d", flag.Name, flag.Removed), Warning
				case flag.Unknown:
					f.Got, f.Severity = fmt.Sprintf("--%s, which no kubelet from 1.34 to 1.37 has", flag.Name), Error
				default:
					continue
				}
				found = append(found, f)
			}
			return found, nil
		},
	}
}
