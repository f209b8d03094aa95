package validate

import (
	"context"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/containerd"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func profileRuntimeDiffers() Check {
	return Check{
		ID:    "profile-runtime-differs",
		Title: "containerd's effective configuration is not what the profile says",
		Why: `Handlers that nobody asked for run pods too, once a RuntimeClass names them; a drop-in may change the
default handler, runc's path or the CNI directory after the image was configured.`,
		Reads:      "containerd's effective configuration",
		Scope:      "targets that are compared with a profile, with containerd whose CRI loads",
		Fix:        "remove the drop-in or the key that wins",
		Severity:   Error,
		References: []string{"https://github.com/containerd/containerd/blob/main/docs/cri/config.md"},
		AppliesTo: func(n *Node) (string, error) {
			if reason, err := hasProfile(n); reason != "" || err != nil {
				return reason, err
			}
			return withCRI(n)
		},
		Run: func(_ context.Context, n *Node) ([]Finding, error) {
			c, err := n.containerd()
			if err != nil {
				return nil, err
			}
			r := n.Profile.Runtime
			var found []Finding
			differ := func(key string, pos source.Position, fallback, got, want string) {
				if got == want {
					return
				}
				if pos.IsDefault() {
					pos = source.Position{File: c.Path}
				}
				if key == "" {
					key = fallback
				}
				found = append(found, Finding{Key: key, Got: got, Want: want}.at(pos))
			}
			differ(c.DefaultHandler.Key, c.DefaultHandler.Pos, "default_runtime_name", c.DefaultHandler.Value, r.DefaultHandler)
			differ(c.CNIBinDirs.Key, c.CNIBinDirs.Pos, "cni.bin_dir", strings.Join(c.CNIBinDirs.Value, ", "), r.CNIBinDir)
			differ(c.CNIConfDir.Key, c.CNIConfDir.Pos, "cni.conf_dir", c.CNIConfDir.Value, r.CNIConfDir)
			asked := map[string]string{}
			for _, h := range r.Handlers {
				asked[h.Name] = h.Type
				if c.Handlers[h.Name] == nil {
					differ("", source.Position{}, handlerPath(c, &containerd.Handler{Name: h.Name}), "no such handler", h.Type)
				}
			}
			for _, name := range c.HandlerNames() {
				h := c.Handlers[name]
				want, ok := asked[name]
				if !ok {
					differ(h.Key, h.Pos, handlerPath(c, h), "handler "+name+" of type "+h.Type.Value, "no such handler")
					continue
				}
				differ(h.Type.Key, h.Type.Pos, handlerPath(c, h)+".runtime_type", h.Type.Value, want)
				if h.IsRunc() {
					differ(h.BinaryName.Key, h.BinaryName.Pos, handlerPath(c, h)+".options.BinaryName", h.BinaryName.Value, r.RuncPath)
					differ(h.SystemdCgroup.Key, h.SystemdCgroup.Pos, handlerPath(c, h)+".options.SystemdCgroup", string(h.Driver()), r.CgroupDriver)
				}
			}
			return found, nil
		},
	}
}
