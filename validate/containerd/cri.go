package containerd

import (
	"fmt"
	"sort"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

func (l *loader) criFault(text, key string, pos source.Position) {
	if l.c.CRIFault == nil {
		l.c.CRIFault = &Fault{Text: "invalid plugin config: " + text, Key: key, Pos: pos}
	}
}

// findDisabled looks for an entry of disabled_plugins that takes the CRI away.
func (l *loader) findDisabled() {
	ids := []string{criGRPC}
	switch {
	case l.c.Version.Major >= 2:
		ids = append(ids, criRuntime, criImages) // the service cannot load without them
	case l.version == 1:
		ids = []string{criV1}
	}
	for _, s := range l.c.DisabledPlugins {
		if inList(ids, s.Value) {
			l.c.CRIDisabled = &s
			return
		}
	}
}

// validateCRI does what the CRI plugin checks when it starts.
func (l *loader) validateCRI() {
	c := l.c
	if c.Version.Major < 2 {
		l.validateCRIV1()
	} else {
		l.validateCRIV2()
	}
	for _, r := range c.RequiredPlugins {
		if r.Value != criGRPC && r.Value != criRuntime && !(l.version == 1 && r.Value == criV1) {
			continue
		}
		switch {
		case c.CRIFault != nil:
			l.refuse(fmt.Sprintf("load required plugin %s: %s", r.Value, c.CRIFault.Text), r.Key, r.Pos)
		case c.CRIDisabled != nil:
			l.refuse(fmt.Sprintf("required plugin [%s] not included", r.Value), r.Key, r.Pos)
		}
	}
}

func (l *loader) validateDefaultHandler() {
	c := l.c
	d := c.DefaultHandler
	switch {
	case d.Value == "":
		l.criFault("`default_runtime_name` is empty", d.Key, d.Pos)
	case c.Handlers[d.Value] == nil:
		pos, key := d.Pos, d.Key
		if pos.IsDefault() {
			for _, n := range c.HandlerNames() {
				pos, key = c.Handlers[n].Pos, c.Handlers[n].Key
			}
		}
		l.criFault(fmt.Sprintf("no corresponding runtime configured in `containerd.runtimes` for `containerd` `default_runtime_name = \"%s\"", d.Value), key, pos)
	}
}

func (l *loader) validateCRIV1() {
	c := l.c
	l.validateDefaultHandler()
	h := c.Handlers[c.DefaultHandler.Value]
	if s := c.LegacySystemdCgroup; s != nil && s.Value && (h == nil || h.Type.Value != TypeLinuxV1) {
		l.criFault("`systemd_cgroup` only works for runtime "+TypeLinuxV1, s.Key, s.Pos)
	}
	id := criGRPC
	if l.version == 1 {
		id = criV1
	}
	cri := l.plugins.sub(id)
	ctd := l.lookup(cri, "containerd")
	if n := l.lookup(ctd, "no_pivot"); n != nil && n.value == true && (h == nil || h.Type.Value != TypeLinuxV1) {
		l.criFault("`no_pivot` only works for runtime "+TypeLinuxV1, n.key, n.pos)
	}
	rts := l.lookup(ctd, "runtimes")
	for _, name := range rts.keys() {
		rt := rts.table[name]
		for _, k := range []string{"runtime_engine", "runtime_root"} {
			if n := l.lookup(rt, k); n != nil && n.value != "" && c.Handlers[name].Type.Value != TypeLinuxV1 {
				l.criFault(fmt.Sprintf("`%s` only works for runtime %s", k, TypeLinuxV1), n.key, n.pos)
			}
		}
		l.validatePrivileged(rt)
	}
	l.validateRegistry(l.lookup(cri, "registry"))
	l.validateDurations(cri, "stream_idle_timeout", "image_pull_progress_timeout", "drain_exec_sync_io_timeout")
}

func (l *loader) validateCRIV2() {
	rt := l.plugins.sub(criRuntime)
	l.validateDefaultHandler()
	rts := l.lookup(l.lookup(rt, "containerd"), "runtimes")
	for _, name := range rts.keys() {
		l.validatePrivileged(rts.table[name])
		if n := l.lookup(rts.table[name], "io_type"); n != nil && n.value != "" && n.value != "fifo" && n.value != "streaming" {
			l.criFault("`io_type` can only be `streaming` or `named_pipe`", n.key, n.pos)
		}
	}
	l.validateDurations(rt, "drain_exec_sync_io_timeout")
	if l.c.Version.AtLeast(2, 3, 0) {
		l.validateDurations(rt, "stats_collect_period", "stats_retention_period")
	}
	img := l.plugins.sub(criImages)
	l.validateRegistry(l.lookup(img, "registry"))
	l.validateDurations(img, "image_pull_progress_timeout")
	l.validateDurations(l.plugins.sub(criGRPC), "stream_idle_timeout")
}

func (l *loader) validatePrivileged(rt *node) {
	all := l.lookup(rt, "privileged_without_host_devices_all_devices_allowed")
	base := l.lookup(rt, "privileged_without_host_devices")
	if all != nil && all.value == true && (base == nil || base.value != true) {
		l.criFault("`privileged_without_host_devices_all_devices_allowed` requires `privileged_without_host_devices` to be enabled", all.key, all.pos)
	}
}

func (l *loader) validateRegistry(reg *node) {
	p := l.lookup(reg, "config_path")
	m := l.lookup(reg, "mirrors")
	if p != nil && p.value != "" && m.isTable() && len(m.table) > 0 {
		l.criFault("`mirrors` cannot be set when `config_path` is provided", m.key, m.pos)
	}
}

func (l *loader) validateDurations(t *node, keys ...string) {
	for _, k := range keys {
		n := l.lookup(t, k)
		if n == nil {
			continue
		}
		s, _ := n.value.(string)
		if s == "" {
			continue
		}
		if _, err := time.ParseDuration(s); err != nil {
			l.criFault(fmt.Sprintf("invalid `%s`: %v", k, err), n.key, n.pos)
		}
	}
}

// HandlerNames lists the handlers in the order in which containerd asks them
// for their cgroup driver: the default one, then by name.
func (c *Config) HandlerNames() []string {
	var names []string
	for n := range c.Handlers {
		names = append(names, n)
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := names[i] == c.DefaultHandler.Value, names[j] == c.DefaultHandler.Value
		if a != b {
			return a
		}
		return names[i] < names[j]
	})
	return names
}

// CRIServed reports whether kubelets find a CRI at all.
func (c *Config) CRIServed() bool {
	return c.Refusal == nil && c.CRIFault == nil && c.CRIDisabled == nil
}

// Answer is what the CRI call RuntimeConfig returns, which a kubelet from
// 1.28 on (by default from 1.31 on) obeys.
type Answer struct {
	// Implemented is false for containerd 1.x: the kubelet then falls back
	// to its own configuration.
	Implemented bool
	Driver      Driver
	// Handler is the one that decided, empty if none could: then containerd
	// looks whether systemd runs.
	Handler string
}

// RuntimeConfig predicts the answer. systemdRunning says whether systemd is
// the machine's init, as it is on any booted node image.
//
// The answer is that of the first handler that can give one, and that need
// not be the default handler: a default handler without options runs cgroupfs
// while the answer comes from the next one.
func (c *Config) RuntimeConfig(systemdRunning bool) Answer {
	if c.Version.Major < 2 || !c.CRIServed() {
		return Answer{}
	}
	for _, n := range c.HandlerNames() {
		h := c.Handlers[n]
		if h.Type.Value != TypeRuncV2 || !h.HasOptions || h.PodFault != "" {
			continue
		}
		return Answer{true, h.Driver(), n}
	}
	if systemdRunning {
		return Answer{true, Systemd, ""}
	}
	return Answer{true, Cgroupfs, ""}
}
