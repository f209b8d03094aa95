package containerd

import (
	"fmt"
	"strings"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
)

// values fills in Config.Values. A key that was found to have no effect is
// left out: it is among Ignored, with the reason.
func (l *loader) values() {
	type place struct {
		key string
		pos source.Position
	}
	ignored := map[place]bool{}
	for _, i := range l.c.Ignored {
		ignored[place{i.Key, i.Pos}] = true
	}
	l.c.Values = map[string]Setting[string]{}
	var add func(n *node, key string)
	add = func(n *node, key string) {
		if !n.isTable() {
			if !ignored[place{n.key, n.pos}] {
				l.c.Values[key] = Setting[string]{text(n.value), n.key, n.pos}
			}
			return
		}
		for _, k := range n.keys() {
			add(n.table[k], dotted(key, k))
		}
	}
	add(l.rest, "")
	add(l.plugins, "plugins")
}

// text is a value as people write it, without the quotes of a string.
func text(v any) string {
	list, ok := v.([]any)
	if !ok {
		return fmt.Sprint(v)
	}
	parts := make([]string, len(list))
	for i, e := range list {
		parts[i] = text(e)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
