package profiles

import (
	"fmt"
	"slices"
)

// setDefaults fills in what a profile may leave out. It is the only place
// where a value appears that no file names.
func setDefaults(p *Profile) {
	text := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	list := func(field *[]string, values ...string) {
		if *field == nil {
			*field = append([]string{}, values...)
		}
	}
	text(&p.Packages.Variant, "minbase")
	list(&p.Kernel.CommandLine)

	h := &p.Host
	list(&h.Modules)
	if h.Sysctls == nil {
		h.Sysctls = map[string]string{}
	}
	list(&h.EnableUnits)
	list(&h.DisableUnits)
	list(&h.MaskUnits)
	text(&h.JournalMax, "256M")
	text(&h.TimeZone, "Etc/UTC")
	text(&h.Locale, "C.UTF-8")
	list(&h.Datasources, "NoCloud", "None")

	r := &p.Runtime
	text(&r.CgroupDriver, "systemd")
	text(&r.RuncPath, "/usr/local/sbin/runc")
	text(&r.CNIBinDir, "/opt/cni/bin")
	text(&r.CNIConfDir, "/etc/cni/net.d")
	text(&r.DefaultHandler, "runc")
	if r.Handlers == nil {
		r.Handlers = []Handler{{Name: "runc", Type: runcHandlerType}}
	}
	text(&r.NoFile, "1024:524288")
	if r.MaxConcurrentDownloads == 0 {
		r.MaxConcurrentDownloads = 3
	}

	componentDefaults(p)

	text(&p.Kubernetes.ImageRepository, defaultImageRepository)
	text(&p.Kubernetes.ResolvConf, "/run/systemd/resolve/resolv.conf")

	list(&p.Disk.Formats, "qcow2")
	text(&p.Disk.ESPSize, "64MiB")
	text(&p.Disk.RootLabel, "nodeimage-root")
}

// componentDefaults fills in what a component's version says: the files of a
// release whose sums come with this program, and the version of kubeadm's
// images.
func componentDefaults(p *Profile) {
	for name, c := range p.Components {
		if c.Source == SourceRelease && c.Files == nil {
			releases, err := LoadReleases()
			if err != nil {
				// The file is compiled in and a test reads it.
				panic(fmt.Sprintf("built-in sums: %v", err))
			}
			c.Files, _ = releases.Files(name, c.Version)
		}
		if slices.Contains(controlPlane, name) && c.Version == "" {
			c.Version = p.Components["kubernetes"].Version
		}
		p.Components[name] = c
	}
}
