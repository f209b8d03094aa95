package containerd

import (
	"fmt"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// runcOptions are the fields of the shim's options message with their types.
func runcOptions() []field {
	return concat(
		fields(aBool, "NoPivotRoot", "NoNewKeyring", "SystemdCgroup"),
		fields(aString, "ShimCgroup", "BinaryName", "Root", "CriuPath", "CriuImagePath", "CriuWorkPath", "TaskApiAddress"),
		fields(anInt, "IoUid", "IoGid", "TaskApiVersion"),
	)
}

// builtinOptions are the options of the built-in runc handler.
func builtinOptions() *node {
	t := newTable("", source.Position{})
	for _, k := range []string{"NoNewKeyring", "SystemdCgroup"} {
		t.table[k] = &node{value: false}
	}
	for _, k := range []string{"ShimCgroup", "BinaryName", "Root", "CriuImagePath", "CriuWorkPath"} {
		t.table[k] = &node{value: ""}
	}
	for _, k := range []string{"IoUid", "IoGid"} {
		t.table[k] = &node{value: int64(0)}
	}
	return t
}

// builtinRunc is the handler of a containerd without a file.
func builtinRunc() *Handler {
	h := &Handler{Name: "runc", Type: Setting[string]{Value: TypeRuncV2}}
	h.options(builtinOptions(), false)
	return h
}

// handlerV1 reads a handler of 1.x: nothing is inherited from the defaults.
func (l *loader) handlerV1(name string, rt *node) *Handler {
	h := &Handler{Name: name}
	if !rt.isTable() {
		return h
	}
	h.Pos, h.Key = rt.pos, rt.key
	override(&h.Type, l.lookup(rt, "runtime_type"))
	var opts *node
	if o := l.lookup(rt, "options"); o.isTable() {
		opts = o
	}
	h.options(opts, true)
	if h.Type.Value == "" {
		// containerd decodes the options as those of an unknown runtime and
		// then finds no shim to start.
		h.PodFault = "no runtime name: the handler has no runtime_type, and containerd " + l.c.Version.String() + " does not fill in the default"
	}
	return h
}

// handlerV2 reads a handler of 2.x: the built-in runc's fields stay where the
// file has none, key by key.
func (l *loader) handlerV2(name string, rt *node) *Handler {
	h := &Handler{Name: name, Pos: rt.pos, Key: rt.key}
	var opts *node
	if name == "runc" {
		h.Type = Setting[string]{Value: TypeRuncV2}
		opts = builtinOptions()
	}
	if !rt.isTable() {
		return h
	}
	override(&h.Type, l.lookup(rt, "runtime_type"))
	// go-toml 2 makes no map for a table without keys, so an empty options
	// table is as good as none.
	if o := l.lookup(rt, "options"); o.isTable() && len(o.table) > 0 {
		if opts == nil {
			opts = newTable(o.key, o.pos)
		}
		opts = mergeNodes(opts, o)
	}
	h.options(opts, false)
	if h.Type.Value == "" {
		h.PodFault = "no runtime name: the handler has no runtime_type"
	}
	return h
}

// options decodes the handler's options as CRI does when it starts a pod.
func (h *Handler) options(opts *node, v1 bool) {
	if opts == nil {
		return
	}
	h.HasOptions = true
	n := lookup(opts, "SystemdCgroup", v1)
	if n != nil {
		h.SystemdCgroup = CgroupSetting{Written: n.value, Type: n.typeName(), Key: n.key, Pos: n.pos}
	}
	override(&h.BinaryName, lookup(opts, "BinaryName", v1))
	if !h.IsRunc() && h.Type.Value != TypeLinuxV1 {
		return
	}
	for _, k := range opts.keys() {
		e := opts.table[k]
		f, ok := matchOption(k, v1)
		if !ok {
			continue // decoded without complaint
		}
		want, fits := "string", false
		switch f.shape {
		case aBool:
			want = "bool"
			_, fits = e.value.(bool)
		case anInt:
			want = "uint32"
			var i int64
			i, fits = e.value.(int64)
			fits = fits && i >= 0 && i < 1<<32
		default:
			_, fits = e.value.(string)
		}
		if !fits {
			h.PodFault = fmt.Sprintf("options of handler %s cannot be decoded: %s is a TOML %s, want %s", h.Name, k, e.typeName(), want)
			return
		}
	}
	if n != nil {
		h.SystemdCgroup.Effective, _ = n.value.(bool)
	}
}

func matchOption(key string, v1 bool) (field, bool) {
	for _, f := range runcOptions() {
		if !v1 {
			if strings.EqualFold(f.name, key) {
				return f, true
			}
			continue
		}
		for _, s := range spellings(f.name) {
			if s == key {
				return f, true
			}
		}
	}
	return field{}, false
}
