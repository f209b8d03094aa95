package validate

import (
	"context"
	"path"
)

func shellHistoryPresent() Check {
	return Check{
		ID:         "shell-history-present",
		Title:      "the image tells what was typed while it was made",
		Why:        `Histories hold passwords and tokens that were given on a command line, and hosts that were logged in to.`,
		Reads:      "histories of shells and tools in each home directory",
		Scope:      "images, not running nodes",
		Fix:        "rm -f /root/.*_history /home/*/.*_history",
		Severity:   Warning,
		References: []string{"https://github.com/kubernetes-sigs/image-builder/blob/main/images/capi/ansible/roles/sysprep/tasks/main.yml"},
		AppliesTo:  (*Node).image,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			homes, err := n.homes()
			if err != nil {
				return nil, err
			}
			var patterns []string
			for _, h := range homes {
				for _, name := range []string{".*_history", ".lesshst", ".viminfo", ".wget-hsts", ".ssh/known_hosts"} {
					patterns = append(patterns, path.Join(h, name))
				}
			}
			return n.leftovers("a history", "none", patterns...)
		},
	}
}
