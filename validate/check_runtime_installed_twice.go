package validate

import (
	"context"
	"strings"
)

func runtimeInstalledTwice() Check {
	return Check{
		ID:    "runtime-installed-twice",
		Title: "two copies of containerd, its shim, runc or the kubelet are in PATH",
		Why: `Which copy runs depends on who starts it: the service names one path, the shim looks for runc in PATH, and
an upgrade of the package changes the copy that nobody runs. Docker's containerd.io conflicts with the
distribution's containerd and runc for that reason.`,
		Reads:      "PATH",
		Fix:        "remove the copy that is not used",
		Severity:   Warning,
		References: []string{"https://docs.docker.com/engine/install/debian/#uninstall-old-versions", "https://github.com/docker/packaging/blob/main/pkg/containerd/deb/control"},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			var found []Finding
			for _, name := range []string{"containerd", "containerd-shim-runc-v2", "runc", "kubelet", "kubeadm"} {
				all, err := n.findAll(name)
				if err != nil {
					return nil, err
				}
				if len(all) < 2 {
					continue
				}
				same, err := n.sameFiles(all)
				if err != nil {
					return nil, err
				}
				if same {
					continue // Ubuntu's runc package has the same file twice
				}
				used := all[0]
				if p, err := n.program(name); err == nil {
					used = p.Path
				}
				for _, p := range all {
					if p != used {
						found = append(found, Finding{File: p, Key: name, Got: strings.Join(all, ", "), Want: "one copy; " + used + " is used",
							Fix: "rm " + p + "  # or remove the package that it comes from"})
					}
				}
			}
			return found, nil
		},
	}
}
