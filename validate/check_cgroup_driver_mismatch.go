package validate

import (
	"context"
	"fmt"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/containerd"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func cgroupDriverMismatch() Check {
	return Check{
		ID:    "cgroup-driver-mismatch",
		Title: "the kubelet and a containerd handler use different cgroup drivers",
		Why: `kubeadm configures the kubelet for systemd, while containerd's own default is cgroupfs. With
containerd 1.7 and older the kubelet cannot ask: containers land in
/sys/fs/cgroup/system.slice/….slice:cri-containerd:…, the pod's slice stays empty, systemd takes its
controllers away, and the kubelet kills healthy pods for ever ("Pod sandbox changed, it will be killed
and re-created"). containerd 2 tells the kubelet its driver, and the kubelet follows to cgroupfs without
a word: two cgroup managers on one node. And since it tells only one driver, another handler, or a
default handler without options, still differs.`,
		Reads:      "containerd's effective configuration, each runc handler in it, and the kubelet's flags and configuration files",
		Scope:      "nodes with containerd",
		Fix:        "set SystemdCgroup = true in the options of every runc handler",
		Severity:   Error,
		References: []string{"kubernetes/kubernetes#110177", "kubernetes/kubernetes#131567", "kubernetes/enhancements#4033"},
		AppliesTo:  withCRI,
		Run:        runCgroupDriverMismatch,
	}
}

// withCRI skips what has no containerd, or none whose CRI could be asked:
// other checks say so.
func withCRI(n *Node) (string, error) {
	c, err := n.containerd()
	switch {
	case err != nil:
		return "", err
	case c.Refusal != nil:
		return "containerd refuses its configuration", nil
	case c.CRIDisabled != nil:
		return "containerd's CRI is disabled", nil
	case c.CRIFault != nil:
		return "containerd's CRI does not load", nil
	}
	return "", nil
}

func runCgroupDriverMismatch(_ context.Context, n *Node) ([]Finding, error) {
	c, err := n.containerd()
	if err != nil {
		return nil, err
	}
	k, err := n.kubeletDriver()
	if err != nil {
		return nil, err
	}
	answer := c.RuntimeConfig(true)
	effective := k.negotiate(answer)
	var found []Finding
	for _, name := range c.HandlerNames() {
		h := c.Handlers[name]
		driver := h.Driver()
		if driver == "" || driver == containerd.Driver(effective) && (driver == containerd.Systemd || k.driver != string(containerd.Systemd)) {
			continue
		}
		f := handlerFinding(c, h)
		f.Got = fmt.Sprintf("%s for pods of %s", driver, handlerName(c, h))
		if h.SystemdCgroup.Written != nil && h.SystemdCgroup.Type != "boolean" && h.SystemdCgroup.Type != "" {
			f.Got += fmt.Sprintf(" (%v is a TOML %s)", h.SystemdCgroup.Written, h.SystemdCgroup.Type)
		}
		f.Want = fmt.Sprintf("%s, as the kubelet (%s)", k.driver, k.because)
		if effective != k.driver {
			f.Got += fmt.Sprintf("; containerd answers the kubelet %s, and the kubelet follows", answer.Driver)
		}
		if driver == containerd.Systemd {
			f.Fix = "# in the kubelet's configuration\ncgroupDriver: systemd"
			f.File, f.Line, f.Key = k.pos.File, k.pos.Line, k.key
			f.Got, f.Want = k.driver+" in the kubelet", fmt.Sprintf("systemd, as containerd's %s", handlerName(c, h))
		}
		found = append(found, f)
	}
	return found, nil
}

func handlerName(c *containerd.Config, h *containerd.Handler) string {
	if h.Name == c.DefaultHandler.Value {
		return fmt.Sprintf("handler %s (the default)", h.Name)
	}
	return "handler " + h.Name
}

// handlerFinding points at a handler's SystemdCgroup, or at where it belongs.
func handlerFinding(c *containerd.Config, h *containerd.Handler) Finding {
	f := Finding{Key: h.SystemdCgroup.Key, Fix: systemdCgroupSnippet(c, h)}
	pos := h.SystemdCgroup.Pos
	if pos.IsDefault() {
		pos = h.Pos
	}
	if pos.IsDefault() {
		pos = source.Position{File: c.Path}
	}
	if f.Key == "" {
		f.Key = handlerPath(c, h) + ".options.SystemdCgroup"
	}
	return f.at(pos)
}

// criSection is the quoted name of the plugin that holds the handlers, in the
// configuration version that this containerd writes, or in that of the file.
func criSection(c *containerd.Config) (version int, section string) {
	version = c.Schema
	if c.Present && c.FileVersion.Value > 1 && c.FileVersion.Value <= c.Schema {
		version = c.FileVersion.Value
	}
	if version >= 3 {
		return version, `"io.containerd.cri.v1.runtime"`
	}
	return version, `"io.containerd.grpc.v1.cri"`
}

func handlerPath(c *containerd.Config, h *containerd.Handler) string {
	_, section := criSection(c)
	return "plugins." + section + ".containerd.runtimes." + h.Name
}

// systemdCgroupSnippet is the TOML that gives a handler the systemd driver.
// containerd 1.x fills in no defaults, so the type stands there too.
func systemdCgroupSnippet(c *containerd.Config, h *containerd.Handler) string {
	version, _ := criSection(c)
	at := handlerPath(c, h)
	return fmt.Sprintf("# %s\nversion = %d\n[%s]\n  runtime_type = %q\n  [%s.options]\n    SystemdCgroup = true\n# then: systemctl restart containerd kubelet",
		c.Path, version, at, containerd.TypeRuncV2, at)
}
