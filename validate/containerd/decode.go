package containerd

import (
	"fmt"
	"strings"
)

// checkTop checks the keys of one file, its plugin sections aside. It reports
// false if containerd refuses the file.
func (l *loader) checkTop(doc *node) bool {
	l.check(doc, topFields(), "")
	if sections := l.lookup(doc, "plugins"); sections.isTable() && l.c.Version.Major < 2 {
		for _, id := range sections.keys() {
			if n := sections.table[id]; !n.isTable() {
				l.refuse(l.mismatch(n, "toml.Tree"), n.key, n.pos)
			}
		}
	}
	return l.c.Refusal == nil
}

// check records unknown keys of t and refuses those of a wrong type, as the
// decoder of this containerd would. plugin is the section, "" for the file.
func (l *loader) check(t *node, known []field, plugin string) {
	for _, k := range t.keys() {
		n := t.table[k]
		f, ok := l.match(known, k)
		if !ok {
			l.unknown(n, plugin)
			continue
		}
		l.checkShape(n, f, plugin)
	}
}

func (l *loader) match(known []field, key string) (field, bool) {
	for _, f := range known {
		if !f.in(l.c.Version) {
			continue
		}
		if l.c.Version.Major >= 2 {
			if strings.EqualFold(key, f.name) {
				return f, true
			}
			continue
		}
		for _, s := range spellings(f.name) {
			if key == s {
				return f, true
			}
		}
	}
	return field{}, false
}

func (l *loader) unknown(n *node, plugin string) {
	reason := fmt.Sprintf("containerd %s has no such key", l.c.Version)
	if plugin != "" {
		reason += " in " + plugin
	}
	logged := l.c.Version.Major >= 2
	l.ignore(n, reason, logged)
	if !logged {
		return
	}
	text := "Ignoring unknown key in TOML"
	if plugin != "" {
		text = fmt.Sprintf("Ignoring unknown key in TOML for plugin: plugin=%s", plugin)
	}
	l.log(text, n.key, n.pos)
}

func (l *loader) checkShape(n *node, f field, plugin string) {
	bad := func(want string) { l.refuse(l.mismatch(n, want), n.key, n.pos) }
	switch f.shape {
	case aString:
		if _, ok := n.value.(string); !ok {
			bad("string")
		}
	case anInt:
		if _, ok := n.value.(int64); !ok {
			bad("int")
		}
	case aBool:
		if _, ok := n.value.(bool); !ok {
			bad("bool")
		}
	case aList:
		if !isStrings(n) {
			bad("[]string")
		}
	case aStruct:
		if !n.isTable() {
			bad("struct")
			return
		}
		l.check(n, f.sub, plugin)
	case mapOfAny, mapOfStrings, mapOfLists, mapOfStructs:
		if !n.isTable() {
			bad("map")
			return
		}
		for _, k := range n.keys() {
			e := n.table[k]
			switch f.shape {
			case mapOfStrings:
				if _, ok := e.value.(string); !ok {
					l.refuse(l.mismatch(e, "string"), e.key, e.pos)
				}
			case mapOfLists:
				if !isStrings(e) {
					l.refuse(l.mismatch(e, "[]string"), e.key, e.pos)
				}
			case mapOfStructs:
				if !e.isTable() {
					l.refuse(l.mismatch(e, "struct"), e.key, e.pos)
					continue
				}
				l.check(e, f.sub, plugin)
			}
		}
	}
}

func isStrings(n *node) bool {
	list, ok := n.value.([]any)
	for _, e := range list {
		if _, s := e.(string); !s {
			return false
		}
	}
	return ok
}

func (l *loader) mismatch(n *node, want string) string {
	if l.c.Version.Major < 2 {
		return fmt.Sprintf("(%d): Can't convert a TOML %s to %s", n.pos.Line, n.typeName(), want)
	}
	return fmt.Sprintf("toml: cannot decode TOML %s into a field of type %s", n.typeName(), want)
}

// section returns the section that the plugin reads, checked, and reports the
// sections that it does not read.
func (l *loader) section(id string, known []field) *node {
	s := l.plugins.child(id)
	if s == nil {
		return newTable("", l.plugins.pos)
	}
	if !s.isTable() {
		l.refuse(l.mismatch(s, "struct"), s.key, s.pos)
		return newTable("", l.plugins.pos)
	}
	l.check(s, known, id)
	return s
}

// unread records CRI sections under names that nothing reads.
func (l *loader) unread(read ...string) {
	for _, id := range []string{criV1, criGRPC, criRuntime, criImages} {
		s := l.plugins.child(id)
		if s == nil || s.isTable() && len(s.table) == 0 || inList(read, id) {
			continue
		}
		l.ignore(s, fmt.Sprintf("containerd %s reads no section of this name in a version %d configuration, and does not say so", l.c.Version, l.version), false)
	}
}

func inList(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// decode fills the effective values from the defaults and the merged sections.
func (l *loader) decode() {
	c := l.c
	l.defaults()
	override(&c.Root, l.top.child("root"))
	override(&c.State, l.top.child("state"))
	if c.Version.AtLeast(2, 3, 0) {
		override(&c.Address, l.plugins.sub(serverGRPC).child("address"))
	} else {
		override(&c.Address, l.top.child("grpc.address"))
	}
	if c.Version.Major < 2 {
		l.decodeV1()
	} else {
		l.decodeV2()
	}
	l.findDisabled()
}

func override(s *Setting[string], n *node) {
	if n == nil {
		return
	}
	if v, ok := n.value.(string); ok {
		*s = Setting[string]{v, n.key, n.pos}
	}
}

func overrideBool(s *Setting[bool], n *node) {
	if n == nil {
		return
	}
	if v, ok := n.value.(bool); ok {
		*s = Setting[bool]{v, n.key, n.pos}
	}
}

func overrideList(s *Setting[[]string], n *node) {
	if n == nil || !isStrings(n) {
		return
	}
	out := []string{}
	for _, e := range n.value.([]any) {
		out = append(out, e.(string))
	}
	*s = Setting[[]string]{out, n.key, n.pos}
}

// decodeV1 reads the one CRI section of 1.x.
func (l *loader) decodeV1() {
	id := criGRPC
	if l.version == 1 {
		id = criV1
	}
	cri := l.section(id, criSection())
	l.unread(id)
	get := func(t *node, k string) *node { return l.lookup(t, k) }
	c := l.c
	override(&c.SandboxImage, get(cri, "sandbox_image"))
	overrideBool(&c.DisableAppArmor, get(cri, "disable_apparmor"))
	if n := get(cri, "systemd_cgroup"); n != nil {
		c.LegacySystemdCgroup = &Setting[bool]{Key: n.key, Pos: n.pos}
		overrideBool(c.LegacySystemdCgroup, n)
	}
	override(&c.RegistryConfigPath, get(get(cri, "registry"), "config_path"))
	l.decodeCNI(get(cri, "cni"))
	ctd := get(cri, "containerd")
	override(&c.Snapshotter, get(ctd, "snapshotter"))
	override(&c.DefaultHandler, get(ctd, "default_runtime_name"))
	if rts := get(ctd, "runtimes"); rts.isTable() {
		// go-toml 1 makes a new map: the built-in runc is gone, whether the
		// file has one or not.
		c.Handlers = map[string]*Handler{}
		for _, name := range rts.keys() {
			c.Handlers[name] = l.handlerV1(name, rts.table[name])
		}
	}
	for _, d := range []struct{ key, name string }{{"untrusted_workload_runtime", "untrusted"}, {"default_runtime", "default"}} {
		rt := get(ctd, d.key)
		if h := l.handlerV1(d.name, rt); rt.isTable() && h.Type.Value != "" {
			c.Handlers[d.name] = h
			if d.name == "default" {
				c.DefaultHandler = Setting[string]{"default", rt.key, rt.pos}
			}
		}
	}
}

// decodeV2 reads the three CRI sections of 2.x.
func (l *loader) decodeV2() {
	get := func(t *node, k string) *node { return l.lookup(t, k) }
	c := l.c
	img := l.section(criImages, imagesSection())
	rt := l.section(criRuntime, runtimeSection())
	l.section(criGRPC, streamTable())
	l.unread(criImages, criRuntime, criGRPC)

	override(&c.SandboxImage, get(img, "pinned_images").child(pinnedImage))
	override(&c.Snapshotter, get(img, "snapshotter"))
	override(&c.RegistryConfigPath, get(get(img, "registry"), "config_path"))
	overrideBool(&c.DisableAppArmor, get(rt, "disable_apparmor"))
	for _, s := range []*node{rt, l.plugins.sub(criGRPC)} {
		if n := get(s, "systemd_cgroup"); n != nil {
			c.LegacySystemdCgroup = &Setting[bool]{Key: n.key, Pos: n.pos}
			overrideBool(c.LegacySystemdCgroup, n)
		}
	}
	l.decodeCNI(get(rt, "cni"))
	ctd := get(rt, "containerd")
	override(&c.DefaultHandler, get(ctd, "default_runtime_name"))
	rts := get(ctd, "runtimes")
	for _, name := range rts.keys() {
		c.Handlers[name] = l.handlerV2(name, rts.table[name])
	}
}

// decodeCNI reads the CNI table, and settles bin_dir against bin_dirs as the
// plugin does when it starts.
func (l *loader) decodeCNI(cni *node) {
	c := l.c
	override(&c.CNIConfDir, l.lookup(cni, "conf_dir"))
	var dir Setting[string]
	override(&dir, l.lookup(cni, "bin_dir"))
	if !c.Version.AtLeast(2, 1, 0) {
		if dir.Key != "" {
			c.CNIBinDirs = Setting[[]string]{[]string{dir.Value}, dir.Key, dir.Pos}
		}
		return
	}
	builtin := c.CNIBinDirs.Value
	overrideList(&c.CNIBinDirs, l.lookup(cni, "bin_dirs"))
	if dir.Value == "" || c.Version.AtLeast(2, 4, 0) {
		return
	}
	if len(c.CNIBinDirs.Value) != 0 && !equal(c.CNIBinDirs.Value, builtin) {
		l.criFault("`cni.bin_dir` and `cni.bin_dirs` cannot be set at the same time", dir.Key, dir.Pos)
		return
	}
	c.CNIBinDirs = Setting[[]string]{[]string{dir.Value}, dir.Key, dir.Pos}
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
