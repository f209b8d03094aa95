package validate

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/bootloader"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/containerd"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/kubelet"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
)

// Setting is one setting that is in effect on a node, with its built-in
// default where no file says anything and the default is known.
type Setting struct {
	Key, Value string
	Pos        source.Position
}

// Settings are those of one program.
type Settings struct {
	Program string // containerd, kubelet, kernel, sysctl, modules, systemd, fstab
	// Absent is why there are none: the program is not there, or what the
	// target holds of it cannot be read.
	Absent string
	List   []Setting // sorted by key
}

// Settings lists what is in effect, a program after the other, always in the
// same order. A program whose files are damaged does not hide the others.
func (n *Node) Settings() ([]Settings, error) {
	var all []Settings
	for _, p := range []struct {
		name string
		read func() ([]Setting, error)
	}{
		{"containerd", n.containerdSettings},
		{"kubelet", n.kubeletSettings},
		{"kernel", n.kernelSettings},
		{"sysctl", n.sysctlSettings},
		{"modules", n.moduleSettings},
		{"systemd", n.systemdSettings},
		{"fstab", n.fstabSettings},
	} {
		list, err := p.read()
		s := Settings{Program: p.name}
		switch {
		case errors.Is(err, errAbsent):
			s.Absent = reasonOf(err)
		case exitcode.Of(err) == exitcode.Usage:
			s.Absent = err.Error()
		case err != nil:
			return nil, fmt.Errorf("reading the configuration of %s: %w", p.name, err)
		default:
			slices.SortStableFunc(list, func(a, b Setting) int { return strings.Compare(a.Key, b.Key) })
			s.List = list
		}
		all = append(all, s)
	}
	return all, nil
}

// settingList collects settings.
type settingList struct{ list []Setting }

func (l *settingList) add(key, value string, pos source.Position) {
	l.list = append(l.list, Setting{Key: key, Value: value, Pos: pos})
}

// containerdSettings are what the CRI does by name, and every other key that
// the files set as it is written there.
func (n *Node) containerdSettings() ([]Setting, error) {
	c, err := n.containerd()
	if err != nil {
		return nil, err
	}
	var l settingList
	// What has been told by a name of its own, by where it is written.
	type place struct {
		key string
		pos source.Position
	}
	told := map[place]bool{}
	str := func(key string, s containerd.Setting[string]) {
		told[place{s.Key, s.Pos}] = true
		l.add(key, s.Value, s.Pos)
	}
	list := func(key string, all []containerd.Setting[string]) {
		words := make([]string, len(all))
		var pos source.Position
		for i, s := range all {
			words[i], pos = s.Value, s.Pos
		}
		l.add(key, strings.Join(words, " "), pos)
	}
	switch {
	case c.Refusal != nil:
		l.add("(starts)", "no: "+c.Refusal.Text, c.Refusal.Pos)
	case c.CRIFault != nil:
		l.add("(starts)", "without its CRI: "+c.CRIFault.Text, c.CRIFault.Pos)
	case c.CRIDisabled != nil:
		l.add("(starts)", "without its CRI: "+c.CRIDisabled.Value+" is disabled", c.CRIDisabled.Pos)
	default:
		l.add("(starts)", "yes", source.Position{})
	}
	str("default runtime handler", c.DefaultHandler)
	for _, name := range c.HandlerNames() {
		h := c.Handlers[name]
		str("handler "+name+": type", h.Type)
		str("handler "+name+": BinaryName", h.BinaryName)
		told[place{h.SystemdCgroup.Key, h.SystemdCgroup.Pos}] = true
		l.add("handler "+name+": cgroup driver", string(h.Driver()), h.SystemdCgroup.Pos)
		if h.PodFault != "" {
			l.add("handler "+name+": starts no pod", h.PodFault, h.Pos)
		}
	}
	if a := c.RuntimeConfig(true); a.Implemented {
		l.add("cgroup driver that the kubelet is told", string(a.Driver), source.Position{})
	}
	str("sandbox image", c.SandboxImage)
	str("snapshotter", c.Snapshotter)
	str("CNI conf_dir", c.CNIConfDir)
	told[place{c.CNIBinDirs.Key, c.CNIBinDirs.Pos}] = true
	l.add("CNI bin_dirs", strings.Join(c.CNIBinDirs.Value, " "), c.CNIBinDirs.Pos)
	str("registry config_path", c.RegistryConfigPath)
	told[place{c.DisableAppArmor.Key, c.DisableAppArmor.Pos}] = true
	l.add("disable_apparmor", fmt.Sprint(c.DisableAppArmor.Value), c.DisableAppArmor.Pos)
	list("disabled_plugins", c.DisabledPlugins)
	list("required_plugins", c.RequiredPlugins)
	str("root", c.Root)
	str("state", c.State)
	str("grpc.address", c.Address)
	for _, key := range slices.Sorted(maps.Keys(c.Values)) {
		if s := c.Values[key]; !told[place{s.Key, s.Pos}] {
			l.add(key, s.Value, s.Pos)
		}
	}
	return l.list, nil
}

func (n *Node) kubeletSettings() ([]Setting, error) {
	k, err := n.kubelet()
	if err != nil {
		return nil, err
	}
	var l settingList
	add := func(key string, s kubelet.Setting[string]) { l.add(key, s.Value, s.Pos) }
	flag := func(key string, s kubelet.Setting[bool]) { l.add(key, fmt.Sprint(s.Value), s.Pos) }
	for _, f := range k.Faults {
		l.add("(starts)", "no: "+f.Text, f.Pos)
	}
	if len(k.Faults) == 0 {
		l.add("(starts)", "yes", source.Position{})
	}
	driver, err := n.kubeletDriver()
	if err != nil {
		return nil, err
	}
	l.add("cgroupDriver", driver.driver, driver.pos)
	add("cgroupRoot", k.CgroupRoot)
	flag("cgroupsPerQOS", k.CgroupsPerQOS)
	add("kubeletCgroups", k.KubeletCgroups)
	add("systemCgroups", k.SystemCgroups)
	flag("failSwapOn", k.FailSwapOn)
	add("memorySwap.swapBehavior", k.SwapBehavior)
	flag("failCgroupV1", k.FailCgroupV1)
	add("resolvConf", k.ResolvConf)
	add("staticPodPath", k.StaticPodPath)
	add("containerRuntimeEndpoint", k.RuntimeEndpoint)
	add("imageServiceEndpoint", k.ImageEndpoint)
	flag("protectKernelDefaults", k.ProtectKernelDefaults)
	add("root-dir", k.RootDir)
	for _, name := range slices.Sorted(maps.Keys(k.FeatureGates)) {
		flag("featureGates."+name, k.FeatureGates[name])
	}
	told := map[string]bool{}
	for _, s := range l.list {
		told[s.Key] = true
	}
	for _, key := range slices.Sorted(maps.Keys(k.Values)) {
		if !told[key] {
			add(key, k.Values[key])
		}
	}
	// A flag may be given several times, and the order counts then.
	flags := map[string][]string{}
	at := map[string]source.Position{}
	for _, f := range k.Flags {
		flags[f.Name] = append(flags[f.Name], f.Value)
		at[f.Name] = f.Pos
	}
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		l.add("--"+name, strings.Join(flags[name], " "), at[name])
	}
	return l.list, nil
}

// kernelSettings are the words of the command line of each entry that boots a
// node. Entries of the same words are told once; the default comes first.
func (n *Node) kernelSettings() ([]Setting, error) {
	c, err := n.bootloader()
	if err != nil {
		return nil, err
	}
	entries := c.Boots()
	if len(entries) == 0 {
		return nil, absent("no boot loader entry boots a node")
	}
	slices.SortStableFunc(entries, func(a, b bootloader.Entry) int {
		switch {
		case a.Default == b.Default:
			return 0
		case a.Default:
			return -1
		}
		return 1
	})
	var l settingList
	first := entries[0].Args.String()
	for i, e := range entries {
		prefix := ""
		if i > 0 {
			if e.Args.String() == first {
				continue
			}
			prefix = fmt.Sprintf("entry %q: ", e.Title)
		}
		words := map[string][]string{}
		at := map[string]source.Position{}
		for _, a := range e.Args {
			// The kernel's name of it, and the loader's own word for it.
			words[a.Key] = append(words[a.Key], a.String())
			if _, ok := at[a.Key]; !ok {
				at[a.Key] = a.Pos
			}
		}
		for _, key := range slices.Sorted(maps.Keys(words)) {
			l.add(prefix+key, strings.Join(words[key], " "), at[key])
		}
	}
	return l.list, nil
}

func (n *Node) sysctlSettings() ([]Setting, error) {
	c, err := n.sysctls()
	if err != nil {
		return nil, err
	}
	var l settingList
	for _, s := range c.All() {
		l.add(s.Key, s.Value, s.Pos)
	}
	return l.list, nil
}

func (n *Node) moduleSettings() ([]Setting, error) {
	c, err := n.modules()
	if err != nil {
		return nil, err
	}
	var l settingList
	for _, e := range c.Load {
		l.add("load "+e.Module, "at boot", e.Pos)
	}
	for _, e := range c.Modprobe {
		l.add(e.Command+" "+e.Module, strings.TrimSpace("set "+e.Args), e.Pos)
	}
	return l.list, nil
}

func (n *Node) fstabSettings() ([]Setting, error) {
	t, err := n.fstab()
	if err != nil {
		return nil, err
	}
	var l settingList
	for _, e := range t.Entries {
		key := e.Target
		if e.IsSwap() {
			key = "swap on " + e.Spec
		}
		l.add(key, strings.Join([]string{e.Spec, e.Type, strings.Join(e.Options, ",")}, " "), e.Pos)
	}
	return l.list, nil
}

// confFiles are systemd's own configuration files.
func confFiles() []string {
	return []string{"journald.conf", "logind.conf", "networkd.conf", "resolved.conf", "system.conf", "timesyncd.conf"}
}

// systemdSettings are those of each unit with its drop-ins, whether the unit is
// enabled and what pulls it in at boot, and those of systemd's own files.
func (n *Node) systemdSettings() ([]Setting, error) {
	units, err := n.units()
	if err != nil {
		return nil, err
	}
	names := units.Names("")
	if len(names) == 0 {
		return nil, absent("systemd is not installed")
	}
	boot, err := units.AtBoot()
	if err != nil {
		return nil, err
	}
	var l settingList
	for _, name := range names {
		e, err := units.Enablement(name)
		if err != nil {
			return nil, err
		}
		u, err := units.Unit(name)
		if err != nil {
			return nil, err
		}
		l.add(name, e.State, source.Position{File: u.Fragment})
		if by, ok := boot[name]; ok {
			l.add(name+": started at boot by", by, source.Position{})
		}
		if u.Name == u.ID { // an alias has no settings of its own
			l.unit(name+": ", u.Settings)
		}
	}
	for _, name := range confFiles() {
		s, _, err := systemd.Conf(n.Root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		l.unit(name+": ", s)
	}
	return l.list, nil
}

// unit adds what assignments come to.
func (l *settingList) unit(prefix string, settings systemd.Settings) {
	type id struct{ section, key string }
	var order []id
	seen := map[id]bool{}
	for _, a := range settings {
		k := id{a.Section, a.Key}
		// What a unit is for people, and what enabling it would do.
		if seen[k] || a.Key == "Documentation" || a.Key == "Description" {
			continue
		}
		seen[k] = true
		order = append(order, k)
	}
	for _, k := range order {
		key := prefix + k.section + "." + k.key
		if !addsUp(k.key) {
			if a, ok := settings.Last(k.section, k.key); ok && a.Value != "" {
				l.add(key, a.Value, a.Pos)
			}
			continue
		}
		var values []string
		var pos source.Position
		for _, a := range settings.All(k.section, k.key) {
			values = append(values, a.Value)
			pos = a.Pos
		}
		if len(values) > 0 {
			l.add(key, strings.Join(values, " "), pos)
		}
	}
}

// addsUp tells whether several assignments of a key add up instead of the last
// one counting (systemd.unit(5), systemd.exec(5) and their siblings).
func addsUp(key string) bool {
	for _, prefix := range []string{"Exec", "Condition", "Assert", "Listen", "OnCalendar", "Bind", "LoadCredential", "SetCredential", "IPAddress", "Device", "Restrict"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	for _, suffix := range []string{"Paths", "WantedBy", "RequiredBy", "UpheldBy", "MountsFor", "Groups", "Filter", "Capabilities", "BoundingSet"} {
		if strings.HasSuffix(key, suffix) {
			return true
		}
	}
	return slices.Contains([]string{
		"Wants", "Requires", "Requisite", "PartOf", "Upholds", "After", "Before", "Conflicts", "OnFailure", "OnSuccess",
		"Environment", "EnvironmentFile", "PassEnvironment", "UnsetEnvironment", "Alias", "Also", "Sockets",
		"PropagatesReloadTo", "ReloadPropagatedFrom", "JoinsNamespaceOf", "DNS", "FallbackDNS", "NTP", "FallbackNTP", "Domains",
	}, key)
}

// Program is an installed program of a node.
type Program struct {
	Name, Path string
	Version    string // without a leading v; "" if it cannot be told
	Go         string // the toolchain that built it, "" if that is not Go
}

// Programs lists those of the programs that make a node which are installed,
// each copy that would run, with the version that the program itself says.
func (n *Node) Programs() ([]Program, error) {
	var all []Program
	for _, name := range []string{"containerd", "runc", "kubelet", "kubeadm", "kubectl", "crictl"} {
		p, err := n.program(name)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found := Program{Name: p.Name, Path: p.Path, Version: p.Version}
		if p.Info != nil {
			found.Go = p.Info.GoVersion
		}
		all = append(all, found)
	}
	return all, nil
}

// Kernels lists the releases of the kernels that have modules in the target.
func (n *Node) Kernels() ([]string, error) {
	c, err := n.modules()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, k := range c.Kernels {
		all = append(all, k.Release)
	}
	return all, nil
}

// Boots are the boot loader's entries that boot a node.
func (n *Node) Boots() ([]bootloader.Entry, error) {
	c, err := n.bootloader()
	if err != nil {
		return nil, err
	}
	return c.Boots(), nil
}
