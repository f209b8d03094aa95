package validate

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/nodeimage/packer-plugin-nodeimage/validate/source"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// item is one file or directory of the target.
type item struct {
	path string
	mode fs.FileMode
	size int64
	caps bool // has file capabilities; only inventory tells
}

// maxInventory bounds the walk over a target: a node image has some ten
// thousand files.
const maxInventory = 2_000_000

// walk visits what is below dir, without following links, and not below the
// directories of other file systems and of containers.
func (n *Node) walk(dir string, visit func(item)) error {
	count := 0
	err := fs.WalkDir(n.Root, source.Name(dir), func(name string, d fs.DirEntry, err error) error {
		p := source.Path(name)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a running system changes while it is looked at
			}
			return err
		}
		if d.IsDir() && slices.Contains(notWalked(), p) {
			return fs.SkipDir
		}
		if count++; count > maxInventory {
			return absent("there are more than %d files", maxInventory)
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		visit(item{path: p, mode: info.Mode(), size: info.Size()})
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// notWalked are directories with files that are no part of the node's own
// system: kernel interfaces, and the layers of container images.
func notWalked() []string {
	return []string{"/proc", "/sys", "/dev", "/run", "/var/lib/containerd", "/var/lib/docker", "/var/lib/containers", "/var/lib/kubelet/pods", "/mnt", "/media"}
}

// inventory lists everything whose mode could be a danger: world-writable,
// setuid and setgid files, and programs with capabilities. It is made once,
// for it walks the whole target.
func (n *Node) inventory() ([]item, error) {
	return n.inventoryOnce.get(func() ([]item, error) {
		dirs := []string{"/"}
		if n.Live != nil {
			// The data of a running node may be large, and is not the image's.
			dirs = []string{"/etc", "/usr/bin", "/usr/sbin", "/usr/lib/systemd", "/usr/libexec", "/usr/local/bin", "/usr/local/sbin", "/opt/cni"}
		}
		var all []item
		for _, dir := range dirs {
			var failed error
			err := n.walk(dir, func(i item) {
				if failed != nil || i.mode&fs.ModeSymlink != 0 {
					return
				}
				if i.mode.IsRegular() && i.mode.Perm()&0o111 != 0 && holdsPrograms(i.path) {
					var c target.Capabilities
					if c, i.caps, failed = target.FileCapabilities(n.Root, source.Name(i.path)); c.Permitted == 0 {
						i.caps = false
					}
				}
				if i.caps || i.mode.Perm()&0o002 != 0 || i.mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
					all = append(all, i)
				}
			})
			if err := cmp.Or(err, failed); err != nil {
				return nil, err
			}
		}
		return all, nil
	})
}

// holdsPrograms tells whether a path lies where programs are installed.
func holdsPrograms(p string) bool {
	for _, dir := range []string{"/usr/bin/", "/usr/sbin/", "/usr/libexec/", "/usr/local/", "/opt/", "/bin/", "/sbin/"} {
		if strings.HasPrefix(p, dir) {
			return true
		}
	}
	return false
}

// homes lists the home directories: root's and those below /home.
func (n *Node) homes() ([]string, error) {
	dirs := []string{"/root"}
	entries, err := n.list("/home")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, path.Join("/home", e.Name()))
		}
	}
	// /etc/skel is copied into each new home.
	return append(dirs, "/etc/skel"), nil
}

// leftovers makes a finding of each file that one of the patterns matches.
// Empty files, empty directories and links are none.
func (n *Node) leftovers(got, want string, patterns ...string) ([]Finding, error) {
	var found []Finding
	for _, pattern := range patterns {
		matches, err := n.glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, p := range matches {
			fi, err := source.Lstat(n.Root, p)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if fi.Mode().IsRegular() && fi.Size() == 0 || fi.Mode()&fs.ModeSymlink != 0 {
				continue
			}
			if fi.IsDir() {
				entries, err := n.list(p)
				if err != nil {
					return nil, err
				}
				if len(entries) == 0 {
					continue
				}
			}
			found = append(found, Finding{File: p, Got: got, Want: want, Fix: "rm -rf " + shellWord(p)})
		}
	}
	return found, nil
}

// shellWord quotes a path where a shell would not take it as it is.
func shellWord(p string) string {
	if strings.Trim(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@") == "" {
		return p
	}
	return "'" + strings.ReplaceAll(p, "'", `'\''`) + "'"
}

// several sums up many findings of one kind: a list of thousands helps nobody.
func several(found []Finding, most int) []Finding {
	if len(found) <= most {
		return found
	}
	last := found[most-1]
	last.Got += ", and so are " + plural(len(found)-most, "more file")
	return append(found[:most-1:most-1], last)
}

// glob expands a pattern of absolute paths, sorted. Unlike fs.Glob it does not
// take a directory that it may not read for an empty one.
func (n *Node) glob(pattern string) ([]string, error) {
	found := []string{"/"}
	for segment := range strings.SplitSeq(strings.Trim(pattern, "/"), "/") {
		var next []string
		for _, dir := range found {
			if !strings.ContainsAny(segment, "*?[") {
				p := path.Join(dir, segment)
				switch _, err := source.Lstat(n.Root, p); {
				case err == nil:
					next = append(next, p)
				case !errors.Is(err, fs.ErrNotExist) && !notDir(err):
					return nil, err
				}
				continue
			}
			entries, err := n.list(dir)
			if notDir(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				ok, err := path.Match(segment, e.Name())
				if err != nil {
					return nil, err
				}
				if ok && (e.Name()[0] != '.' || segment[0] == '.') {
					next = append(next, path.Join(dir, e.Name()))
				}
			}
		}
		found = next
	}
	return found, nil
}

// notDir tells whether a path goes through something that is no directory.
func notDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
