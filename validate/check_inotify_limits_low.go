package validate

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func inotifyLimitsLow() Check {
	return Check{
		ID:    "inotify-limits-low",
		Title: "inotify's limits run out with some dozens of pods",
		Why: `The kernel's default is 128 instances a user, and root's programs share it with pods of root: kubectl logs
-f says "failed to create fsnotify watcher: too many open files", containerd's CRI plugin fails to start
with the same words.`,
		Reads:      "the sysctl.d directories in systemd's order",
		Fix:        "printf 'fs.inotify.max_user_instances = 8192\\nfs.inotify.max_user_watches = 524288\\n' > /etc/sysctl.d/90-inotify.conf",
		Severity:   Warning,
		References: []string{"kubernetes/kubernetes#104303", "k0sproject/k0s#8113"},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.sysctls()
			if err != nil {
				return nil, err
			}
			var found []Finding
			for _, limit := range []struct {
				key      string
				min, def int // def is what the kernel has without a setting
			}{{"fs.inotify.max_user_instances", 1024, 128}, {"fs.inotify.max_user_watches", 65536, 0}} {
				s, ok := c.Get(limit.key)
				f := Finding{Key: limit.key, Want: fmt.Sprintf("at least %d", limit.min)}
				if !ok {
					// The kernel sizes the watches by the machine's memory.
					if limit.def > 0 {
						f.Got = fmt.Sprintf("not set, so the kernel's default %d", limit.def)
						found = append(found, f.at(source.Position{File: "/etc/sysctl.d"}))
					}
					continue
				}
				if v, err := strconv.Atoi(s.Value); err != nil || v < limit.min {
					f.Got = s.Value
					found = append(found, f.at(s.Pos))
				}
			}
			return found, nil
		},
	}
}
