package validate

import (
	"context"
	"fmt"
	"path"
	"slices"
)

func containerdDropinsNotRead() Check {
	return Check{
		ID:    "containerd-dropins-not-read",
		Title: "containerd does not read a drop-in that is there",
		Why: `/etc/containerd/conf.d is read only if config.toml exists and itself has an imports line for it: the
line in "containerd config default" is a default of that command's output, not of the daemon. config.d was
a mistake of nvidia-ctk before 1.18.1. Whatever such a file says, cgroup driver included, is not in effect.`,
		Reads:      "*.toml in /etc/containerd/conf.d and config.d, against the files that containerd reads",
		Scope:      "nodes with containerd",
		Fix:        `add imports = ["/etc/containerd/conf.d/*.toml"] to /etc/containerd/config.toml`,
		Severity:   Error,
		References: []string{"NVIDIA/nvidia-container-toolkit#1404", "https://github.com/containerd/containerd/blob/v2.2.9/cmd/containerd/command/main.go"},
		AppliesTo:  hasContainerd,
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.containerd()
			if err != nil || c.Refusal != nil {
				return nil, err
			}
			var found []Finding
			for _, dir := range []string{"/etc/containerd/conf.d", "/etc/containerd/config.d"} {
				entries, err := n.list(dir)
				if err != nil {
					return nil, err
				}
				for _, e := range entries {
					file := path.Join(dir, e.Name())
					read := false
					for _, f := range c.Files {
						read = read || f.Path == file
					}
					if read || e.IsDir() || path.Ext(file) != ".toml" {
						continue
					}
					f := Finding{File: file, Key: "imports", Got: "not imported by " + c.Path, Want: "an imports line that names it, or no such file"}
					f.Fix = fmt.Sprintf("# %s\nimports = [%q]", c.Path, dir+"/*.toml")
					if !c.Present {
						f.Got = "not read, since there is no " + c.Path
						f.Fix = fmt.Sprintf("printf 'version = %d\\nimports = [\"%s/*.toml\"]\\n' > %s", c.Schema, dir, c.Path)
					}
					found = append(found, f)
				}
			}
			return slices.Clip(found), nil
		},
	}
}
