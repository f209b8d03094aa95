package validate

import (
	"context"
	"fmt"
)

func containerdConfigVersionOld() Check {
	return Check{
		ID:    "containerd-config-version-old",
		Title: "containerd's configuration file names no version, or version 1",
		Why: `A file without a version counts as version 1. containerd 2.0 to 2.2 rename the plugins of such a file
and then lose its CRI section; older releases read only [plugins.cri…] in it. What works today ends with
the next upgrade.`,
		Reads:      "version in containerd's main configuration file",
		Scope:      "nodes with a containerd configuration file",
		Fix:        "containerd config migrate prints the file as this containerd wants it",
		Severity:   Warning,
		References: []string{"https://github.com/containerd/containerd/blob/main/RELEASES.md", "https://github.com/containerd/containerd/blob/v2.2.9/cmd/containerd/server/config/config.go"},
		AppliesTo: func(n *Node) (string, error) {
			c, err := n.containerd()
			if err == nil && !c.Present {
				return "containerd has no configuration file", nil
			}
			return "", err
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.containerd()
			if err != nil || c.FileVersion.Value >= 2 || c.Refusal != nil {
				return nil, err
			}
			f := Finding{Key: "version", Got: "no version", Want: fmt.Sprintf("version = %d", c.Schema), File: c.Path}
			if c.FileVersion.Value == 1 {
				f.Got = "version = 1"
				f = f.at(c.FileVersion.Pos)
			}
			f.Fix = fmt.Sprintf("containerd config migrate > /tmp/config.toml && mv /tmp/config.toml %s", c.Path)
			return []Finding{f}, nil
		},
	}
}
