package containerd

import (
	"fmt"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// The plugin sections that hold the CRI's settings.
const (
	criV1       = "cri"                          // config version 1
	criGRPC     = "io.containerd.grpc.v1.cri"    // version 2; the streaming server from version 3
	criRuntime  = "io.containerd.cri.v1.runtime" // version 3
	criImages   = "io.containerd.cri.v1.images"  // version 3
	serverGRPC  = "io.containerd.server.v1.grpc" // version 4
	typePrefix  = "io.containerd."
	pinnedImage = "sandbox"
)

// v1Names are the plugins that containerd 2 renames from a version 1 file.
func v1Name(id string) string {
	if strings.Contains(id, ".") {
		return id
	}
	core := map[string]string{
		"cri":       criGRPC,
		"cgroups":   "io.containerd.monitor.v1.cgroups",
		"linux":     "io.containerd.runtime.v1.linux",
		"scheduler": "io.containerd.gc.v1.scheduler",
		"bolt":      "io.containerd.metadata.v1.bolt",
		"task":      "io.containerd.runtime.v2.task",
		"opt":       "io.containerd.internal.v1.opt",
		"restart":   "io.containerd.internal.v1.restart",
		"tracing":   "io.containerd.internal.v1.tracing",
		"otlp":      "io.containerd.tracing.processor.v1.otlp",
		"aufs":      "io.containerd.snapshotter.v1.aufs",
		"btrfs":     "io.containerd.snapshotter.v1.btrfs",
		"devmapper": "io.containerd.snapshotter.v1.devmapper",
		"native":    "io.containerd.snapshotter.v1.native",
		"overlayfs": "io.containerd.snapshotter.v1.overlayfs",
		"zfs":       "io.containerd.snapshotter.v1.zfs",
	}
	switch {
	case core[id] != "":
		return core[id]
	case strings.HasSuffix(id, "-service"):
		return "io.containerd.service.v1." + id
	case id == "windows", id == "windows-lcow":
		return "io.containerd.snapshotter.v1." + id
	}
	return "io.containerd.grpc.v1." + id
}

// migrateFile brings one file to the merged version before it is merged, as
// far as this containerd does that. It reports false after a refusal.
func (l *loader) migrateFile(doc *node, version int) bool {
	v := l.c.Version
	if v.Major < 2 {
		return true
	}
	if version < 0 {
		l.refuse("panic: runtime error: index out of range ["+fmt.Sprint(version)+"]", "version", source.Position{File: l.c.Path})
		return false
	}
	if !v.AtLeast(2, 3, 0) {
		// Only names, only from version 0 or 1, and only up to the version
		// merged so far.
		if version <= 1 {
			if version < l.version && l.version >= 2 {
				l.renameV1(doc)
			}
			setVersion(doc, l.version)
		}
		return true
	}
	if version >= l.version {
		return true
	}
	for from := version; from < l.version; from++ {
		if from == 1 {
			l.renameV1(doc)
		}
		if from == 3 {
			l.moveServer(doc)
		}
		if sections := l.lookup(doc, "plugins"); sections.isTable() && !l.migratePlugins(sections) {
			return false
		}
	}
	setVersion(doc, l.version)
	l.logMigrated(version)
	return true
}

func setVersion(doc *node, v int) {
	n := &node{value: int64(v), key: "version", pos: doc.pos}
	if old := doc.table["version"]; old != nil {
		n.pos = old.pos
	}
	doc.table["version"] = n
}

func (l *loader) logMigrated(from int) {
	l.log(fmt.Sprintf("Configuration migrated from version %d, use `containerd config migrate` to avoid migration", from), "version", l.c.FileVersion.Pos)
}

func (l *loader) log(text, key string, pos source.Position) {
	l.c.Log = append(l.c.Log, LogLine{Text: text, Key: key, Pos: pos})
}

func (l *loader) renameV1(doc *node) {
	if sections := l.lookup(doc, "plugins"); sections.isTable() {
		renamed := map[string]*node{}
		for _, id := range sections.keys() {
			renamed[v1Name(id)] = sections.table[id]
		}
		sections.table = renamed
	}
	for _, k := range []string{"disabled_plugins", "required_plugins"} {
		n := l.lookup(doc, k)
		if n == nil {
			continue
		}
		list, _ := n.value.([]any)
		out := make([]any, len(list))
		for i, e := range list {
			out[i] = e
			if s, ok := e.(string); ok {
				out[i] = v1Name(s)
			}
		}
		n.value = out
	}
}

// moveServer moves the gRPC address to its plugin, as version 4 wants it.
func (l *loader) moveServer(doc *node) {
	g := l.lookup(doc, "grpc")
	if !g.isTable() {
		return
	}
	address := l.lookup(g, "address")
	if address == nil || address.value == "" {
		return
	}
	sections := l.lookup(doc, "plugins")
	if sections == nil {
		sections = newTable("plugins", g.pos)
		doc.table["plugins"] = sections
	}
	if !sections.isTable() || sections.table[serverGRPC] != nil {
		return
	}
	t := newTable(g.key, g.pos)
	t.table["address"] = address
	sections.table[serverGRPC] = t
}

// migratePlugins moves the settings of the version 2 CRI section to where
// version 3 has them: images first, then runtime, then what stays.
func (l *loader) migratePlugins(sections *node) bool {
	src := sections.table[criGRPC]
	if src == nil {
		return true
	}
	if !src.isTable() {
		l.refuse(fmt.Sprintf("panic: interface conversion: %s is no table", src.key), src.key, src.pos)
		return false
	}
	return l.migrateImages(sections, src) && l.migrateRuntime(sections, src) && l.migrateStream(sections, src)
}

// tableOr returns the table under key, an empty one without it, and false if
// something else stands there: containerd then panics.
func (l *loader) tableOr(t *node, key string, like *node) (*node, bool) {
	c := t.child(key)
	if c == nil {
		return newTable(like.key, like.pos), true
	}
	if !c.isTable() {
		l.refuse(fmt.Sprintf("panic: interface conversion: %s is no table", c.key), c.key, c.pos)
		return nil, false
	}
	return c, true
}

func (l *loader) migrateImages(sections, src *node) bool {
	dst, ok := l.tableOr(sections, criImages, src)
	if !ok {
		return false
	}
	if img := src.table["sandbox_image"]; img != nil {
		pinned, ok := l.tableOr(dst, "pinned_images", img)
		if !ok {
			return false
		}
		pinned.table[pinnedImage] = img
		dst.table["pinned_images"] = pinned
	}
	copyKeys(dst, src, "registry", "image_decryption", "max_concurrent_downloads", "image_pull_progress_timeout", "image_pull_with_sync_fs", "stats_collect_period")
	sections.table[criImages] = dst

	ctd := src.child("containerd")
	if ctd == nil {
		return true
	}
	if ctd, ok = l.tableOr(src, "containerd", src); !ok {
		return false
	}
	if ctd.child("runtimes") == nil {
		// The real migration returns here too, and so leaves the
		// snapshotter of a section without handlers behind.
		return true
	}
	if _, ok = l.tableOr(ctd, "runtimes", ctd); !ok {
		return false
	}
	copyKeys(dst, ctd, "snapshotter", "disable_snapshot_annotations", "discard_unpacked_layers")
	return true
}

func copyKeys(dst, src *node, keys ...string) {
	for _, k := range keys {
		if n := src.table[k]; n != nil {
			dst.table[k] = n
		}
	}
}

func (l *loader) migrateRuntime(sections, src *node) bool {
	dst := sections.sub(criRuntime)
	if dst == nil {
		dst = newTable(src.key, src.pos)
	}
	for _, k := range src.keys() {
		switch k {
		case "containerd", // below
			"sandbox_image", "registry", "image_decryption", "max_concurrent_downloads", // with the images
			"image_pull_progress_timeout", "image_pull_with_sync_fs", "stats_collect_period",
			"disable_tcp_service", "stream_server_address", "stream_server_port", // with the server
			"stream_idle_timeout", "enable_tls_streaming", "x509_key_pair_streaming":
			continue
		case "cni":
			if l.c.Version.AtLeast(2, 1, 0) {
				continue // below
			}
		case "enable_cdi":
			if l.c.Version.AtLeast(2, 4, 0) {
				continue
			}
		}
		if dst.table[k] == nil {
			dst.table[k] = src.table[k]
		}
	}
	if l.c.Version.AtLeast(2, 1, 0) && !l.migrateCNI(dst, src) {
		return false
	}
	sections.table[criRuntime] = dst

	ctd := src.sub("containerd")
	if ctd == nil {
		return true
	}
	merged := dst.sub("containerd")
	if merged == nil {
		merged = newTable(ctd.key, ctd.pos)
	}
	for _, k := range ctd.keys() {
		switch k {
		case "snapshotter", "disable_snapshot_annotations", "discard_unpacked_layers":
			continue
		}
		if merged.table[k] == nil {
			merged.table[k] = ctd.table[k]
		}
	}
	dst.table["containerd"] = merged
	rts := merged.child("runtimes")
	if rts == nil {
		return true
	}
	for _, name := range rts.keys() {
		rt, ok := l.tableOr(rts, name, rts)
		if !ok {
			return false
		}
		if mode := rt.table["sandbox_mode"]; mode != nil && rt.table["sandboxer"] == nil {
			rt.table["sandboxer"] = mode
			delete(rt.table, "sandbox_mode")
		}
	}
	return true
}

// migrateCNI turns bin_dir into bin_dirs, since 2.1.
func (l *loader) migrateCNI(dst, src *node) bool {
	cni := src.sub("cni")
	if cni == nil {
		return true
	}
	out := dst.sub("cni")
	if out == nil {
		out = newTable(cni.key, cni.pos)
	}
	for _, k := range cni.keys() {
		n := cni.table[k]
		if k != "bin_dir" {
			if out.table[k] == nil {
				out.table[k] = n
			}
			continue
		}
		if _, ok := n.value.(string); !ok {
			l.refuse("panic: interface conversion: bin_dir is no string", n.key, n.pos)
			return false
		}
		out.table["bin_dirs"] = &node{value: []any{n.value}, key: n.key, pos: n.pos}
	}
	dst.table["cni"] = out
	return true
}

// migrateStream leaves only the streaming server's keys in the old section.
func (l *loader) migrateStream(sections, src *node) bool {
	dst := newTable(src.key, src.pos)
	copyKeys(dst, src, "disable_tcp_service", "stream_server_address", "stream_server_port", "stream_idle_timeout", "enable_tls_streaming", "x509_key_pair_streaming")
	sections.table[criGRPC] = dst
	return true
}

// finish validates the merged file and runs the migrations that 2.0 to 2.2
// run once at the end, only if the merged version is an old one.
func (l *loader) finish() {
	v := l.c.Version
	if v.Major < 2 {
		l.validateV1()
		return
	}
	if l.version > l.c.Schema {
		l.refuse(fmt.Sprintf("failed to load TOML from %s: expected containerd config version equal to or less than `%d`, got `%d`", l.c.Path, l.c.Schema, l.version), "version", l.c.FileVersion.Pos)
		return
	}
	for _, list := range []struct {
		what string
		all  []Setting[string]
	}{{"disabled", l.c.DisabledPlugins}, {"required", l.c.RequiredPlugins}} {
		for _, s := range list.all {
			if !strings.Contains(s.Value, ".") {
				l.refuse(fmt.Sprintf("failed to load TOML from %s: invalid %s plugin URI %q expect io.containerd.x.vx", l.c.Path, list.what, s.Value), s.Key, s.Pos)
				return
			}
		}
	}
	if l.version >= l.c.Schema || v.AtLeast(2, 3, 0) {
		return
	}
	from := l.version
	for ; l.version < l.c.Schema; l.version++ {
		if !l.migratePlugins(l.plugins) {
			return
		}
	}
	l.logMigrated(from)
}

// validateV1 is ValidateV2 of containerd 1.x.
func (l *loader) validateV1() {
	v := l.c.Version
	if l.version < 2 {
		l.log("containerd config version `1` has been deprecated", "version", source.Position{File: l.c.Path})
		return
	}
	fail := func(s Setting[string], what string) {
		l.refuse(fmt.Sprintf("failed to load TOML from %s: invalid %s URI %q expect io.containerd.x.vx", l.c.Path, what, s.Value), s.Key, s.Pos)
	}
	if l.version > 2 && v.checksNewerSchema() {
		l.log(fmt.Sprintf("containerd config version `%d` is not supported, the max version is `2`, use `containerd config default` to generate a new config or manually revert to version `2`", l.version), "version", l.c.FileVersion.Pos)
		l.refuse(fmt.Sprintf("failed to load TOML from %s: unsupported config version `%d`", l.c.Path, l.version), "version", l.c.FileVersion.Pos)
		return
	}
	uri := func(id string) bool {
		return len(strings.SplitN(id, ".", 4)) == 4 && (strings.HasPrefix(id, typePrefix) || !v.AtLeast(1, 7, 0))
	}
	for _, s := range l.c.DisabledPlugins {
		if !uri(s.Value) {
			fail(s, "disabled plugin")
			return
		}
	}
	for _, s := range l.c.RequiredPlugins {
		if !uri(s.Value) {
			fail(s, "required plugin")
			return
		}
	}
	for _, id := range l.plugins.keys() {
		if n := l.plugins.table[id]; !uri(id) {
			fail(Setting[string]{id, n.key, n.pos}, "plugin key")
			return
		}
	}
}
