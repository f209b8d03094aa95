package validate

import (
	"context"
	"strings"
)

func kernelSettingLost() Check {
	return Check{
		ID:         "kernel-setting-lost",
		Title:      "a kernel setting that pods need is not in effect on the running node",
		Why:        `The files say one thing and the kernel another: a setting was made before its module was loaded, something changed it after the boot, or the node was never rebooted after the file was written.`,
		Reads:      "/proc/sys",
		Scope:      "running nodes",
		Fix:        "modprobe br_netfilter && sysctl --system",
		Severity:   Error,
		References: []string{"flannel-io/flannel#2166", "https://kubernetes.io/docs/setup/production-environment/container-runtimes/"},
		AppliesTo:  (*Node).running,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			var found []Finding
			for _, key := range []string{"net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables"} {
				file := "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
				f := Finding{File: file, Key: key, Want: "1"}
				v, err := n.Live.Sysctl(key)
				switch {
				case err == nil && v == "1":
					continue
				case err == nil:
					f.Got = v
				case missing(err, "") != err:
					f.Got = "not there, since br_netfilter is not loaded"
				default:
					return nil, err
				}
				found = append(found, f)
			}
			return found, nil
		},
	}
}
