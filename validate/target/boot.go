package target

import (
	"io"
	"strings"
)

// maxFSTab bounds what is read of /etc/fstab, in bytes. One has some hundred.
const maxFSTab = 1 << 20

// BootPartition returns the number of the partition that Root shows as /boot,
// or 0 when /boot is a directory of the root's own file system.
func (t *Target) BootPartition() int { return t.bootNo }

// openBoot shows, as /boot of the root, the ext4 partition of this disk that
// /etc/fstab mounts there, as Ubuntu's cloud images have it since 24.04: kernels
// and the boot loader's configuration are in it. What the entry names and the
// disk has not, a booted system would not find either: then it is left alone.
func (t *Target) openBoot(r io.ReaderAt, root *view) {
	spec := bootSpec(root)
	if spec == "" {
		return
	}
	for _, p := range t.parts {
		if p.Number == t.rootNo {
			continue
		}
		v, id, err := openExt4(section(r, p), p.Length)
		if err != nil || !named(spec, p, id) {
			continue // a boot loader's own partition, or another file system
		}
		t.root, t.bootNo = &view{mountNode{root.root, "boot", v.root}}, p.Number
		return
	}
}

// bootSpec is what /etc/fstab mounts at /boot, or "".
func bootSpec(root *view) string {
	text, err := root.ReadFileMax("etc/fstab", maxFSTab)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) >= 3 && !strings.HasPrefix(fields[0], "#") && strings.TrimRight(fields[1], "/") == "/boot" {
			return strings.ReplaceAll(fields[0], `"`, "")
		}
	}
	return ""
}

// volume is what identifies a file system.
type volume struct{ label, uuid string }

// named tells whether an entry of fstab means a partition.
func named(spec string, p Partition, v volume) bool {
	for prefix, key := range map[string]string{
		"/dev/disk/by-label/": "LABEL", "/dev/disk/by-uuid/": "UUID", "/dev/disk/by-partlabel/": "PARTLABEL", "/dev/disk/by-partuuid/": "PARTUUID",
	} {
		if rest, ok := strings.CutPrefix(spec, prefix); ok {
			spec = key + "=" + rest
		}
	}
	key, value, _ := strings.Cut(spec, "=")
	switch key {
	case "LABEL":
		return value != "" && value == v.label
	case "UUID":
		return strings.EqualFold(value, v.uuid)
	case "PARTLABEL":
		return value != "" && value == p.Name
	case "PARTUUID":
		return strings.EqualFold(value, p.GUID)
	}
	return false
}

// mountNode is a directory with another file system on one of its entries.
type mountNode struct {
	node
	at      string
	mounted node
}

func (n mountNode) lookup(name string) (node, error) {
	// Only a directory that is there can be mounted on.
	found, err := n.node.lookup(name)
	if err != nil || name != n.at || !found.kind().IsDir() {
		return found, err
	}
	return n.mounted, nil
}

func (n mountNode) list(yield func(listed) bool) error {
	return n.node.list(func(l listed) bool {
		if l.name == n.at && l.kind.IsDir() {
			l.node = func() (node, error) { return n.mounted, nil }
		}
		return yield(l)
	})
}
