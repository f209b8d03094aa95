package validate

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

func containerdDumpDiffers() Check {
	return Check{
		ID:    "containerd-dump-differs",
		Title: "containerd itself says otherwise about its cgroup drivers",
		Why: `The other checks read the configuration as the sources of each containerd release do. Here the installed
containerd is asked by containerd config dump. If the two differ, this containerd was changed, or the model
of this project is wrong: believe containerd.`,
		Reads:      "the output of containerd config dump",
		Scope:      "running nodes with containerd",
		Fix:        "set SystemdCgroup = true for every runc handler; report the difference if it is there already",
		Severity:   Error,
		References: []string{"https://github.com/containerd/containerd/blob/main/docs/man/containerd-config.8.md", "https://github.com/nodeimage/packer-plugin-nodeimage/issues"},
		AppliesTo: func(n *Node) (string, error) {
			if reason, err := n.running(); reason != "" || err != nil {
				return reason, err
			}
			return withCRI(n)
		},
		Run: func(ctx context.Context, n *Node) ([]Finding, error) {
			c, err := n.containerd()
			if err != nil {
				return nil, err
			}
			if !c.Present {
				return nil, absent("there is no %s to ask about", c.Path)
			}
			p, err := n.program("containerd")
			if err != nil {
				return nil, err
			}
			dump, err := n.Live.ConfigDump(ctx, p.Path, c.Path)
			if err != nil {
				return nil, missing(err, "containerd cannot be asked")
			}
			real := dump.Drivers()
			model := map[string]string{}
			for name, h := range c.Handlers {
				if h.IsRunc() && h.PodFault == "" {
					model[name] = string(h.Driver())
				}
			}
			var found []Finding
			for _, name := range slices.Sorted(maps.Keys(model)) {
				if got, ok := real[name]; ok && got != model[name] {
					found = append(found, Finding{File: c.Path, Key: handlerPath(c, c.Handlers[name]) + ".options.SystemdCgroup", Got: fmt.Sprintf("%s for handler %s, by containerd config dump", got, name), Want: model[name] + ", by its files"})
				}
			}
			return found, nil
		},
	}
}
