package profiles

import (
	"fmt"
	"slices"
	"strconv"
)

func (v *validator) host(h Host) {
	v.patternList("host.modules", h.Modules, moduleName, "the name of a kernel module")
	for _, key := range sortedKeys(h.Sysctls) {
		at := join("host.sysctls", key)
		if !sysctlName.MatchString(key) {
			v.reportKey(at, "key: expected the name of a sysctl, such as net.ipv4.ip_forward")
		}
		v.match(at, h.Sysctls[key], sysctlValue, "a value of one line")
	}
	v.units(h)
	v.match("host.journalMaxUse", h.JournalMax, journalSize, "a size as journald.conf takes it, such as 256M")
	v.match("host.timeZone", h.TimeZone, timeZone, "a time zone, such as Etc/UTC")
	v.match("host.locale", h.Locale, localeName, "a locale, such as C.UTF-8")
	v.filled("host.cloudInitDatasources", len(h.Datasources), "cloud-init datasource, such as NoCloud")
	v.list("host.cloudInitDatasources", h.Datasources, func(at, name string) { v.oneOf(at, name, datasources) })
}

// units checks the names, and that no unit is to be in two states.
func (v *validator) units(h Host) {
	state := map[string]string{}
	for _, l := range []struct {
		key   string
		units []string
	}{{"enableUnits", h.EnableUnits}, {"disableUnits", h.DisableUnits}, {"maskUnits", h.MaskUnits}} {
		v.list("host."+l.key, l.units, func(at, unit string) {
			v.match(at, unit, unitName, "the full name of a systemd unit, such as ssh.service")
			if other := state[unit]; other != "" {
				v.report(at, "found %s, which %s names too: expected one state for a unit", quote(unit), other)
			}
			state[unit] = l.key
		})
	}
}

func (v *validator) runtime(r Runtime) {
	v.oneOf("runtime.cgroupDriver", r.CgroupDriver, []string{"systemd", "cgroupfs"})
	v.absolute("runtime.runcPath", r.RuncPath, "the runc binary in the image")
	v.absolute("runtime.cniBinDir", r.CNIBinDir, "the directory of the CNI plugins in the image")
	v.absolute("runtime.cniConfDir", r.CNIConfDir, "the directory of the CNI configuration in the image")
	v.match("runtime.limitNoFile", r.NoFile, noFile, `soft and hard limit, such as "1024:524288"`)
	if m := noFile.FindStringSubmatch(r.NoFile); m != nil && m[2] != "" && limit(m[1]) > limit(m[2]) {
		v.report("runtime.limitNoFile", "found %s, expected a soft limit no higher than the hard one", quote(r.NoFile))
	}
	v.filled("runtime.handlers", len(r.Handlers), "runtime handler")
	var names []string
	for i, h := range r.Handlers {
		at := fmt.Sprintf("runtime.handlers[%d]", i)
		v.match(at+".name", h.Name, handlerName, "the name of a runtime handler, such as runc")
		if h.Name != "" && slices.Contains(names, h.Name) {
			v.report(at+".name", "found %s twice: expected a name of its own for each handler", quote(h.Name))
		}
		names = append(names, h.Name)
		v.match(at+".type", h.Type, handlerType, "a shim's runtime type, such as "+runcHandlerType)
		if h.Type == "io.containerd.runc.v1" {
			v.report(at+".type", "found %s, which containerd 2.0 removed: expected %s", quote(h.Type), runcHandlerType)
		}
	}
	if len(r.Handlers) > 0 && !slices.Contains(names, r.DefaultHandler) {
		v.report("runtime.defaultHandler", "found %s, expected the name of a handler: %s", quote(r.DefaultHandler), choice(names))
	}
}

// limit orders resource limits; infinity and what does not fit are highest.
func limit(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return ^uint64(0)
	}
	return n
}

func (v *validator) kubernetes(p *Profile) {
	k := p.Kubernetes
	v.match("kubernetes.imageRepository", k.ImageRepository, repository, "a registry and path without a tag, such as registry.k8s.io")
	v.absolute("kubernetes.resolvConf", k.ResolvConf, "a resolv.conf in the image")
	// The stub at 127.0.0.53 sends CoreDNS back to itself (coredns/coredns#2087).
	resolved := slices.Contains(p.Host.EnableUnits, "systemd-resolved.service") || slices.Contains(p.PackageList(), "systemd-resolved")
	if k.ResolvConf == stubResolvConf || resolved && k.ResolvConf == "/etc/resolv.conf" {
		v.report("kubernetes.resolvConf", "found %s, the stub of systemd-resolved, through which CoreDNS would ask itself: expected /run/systemd/resolve/resolv.conf", quote(k.ResolvConf))
	}
}
