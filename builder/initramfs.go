package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
)

// Making an initramfs takes a third of a build whose base is there already: it
// is thousands of small programs. What it is made of seldom changes, so it is
// kept in the store, keyed by all that it could have been made of.

// initramfsFiles are what update-initramfs writes for a kernel: the initramfs,
// and the sum by which a later update tells whether an administrator changed it.
func initramfsFiles(kernel string) []string {
	return []string{path.Join("/boot", "initrd.img-"+kernel), path.Join("/var/lib/initramfs-tools", kernel)}
}

// initramfsFor makes the initramfs of one kernel, or takes it from the store.
func (s *stepInstallBoot) initramfsFor(ctx context.Context, kernel string) error {
	makeIt := func(ctx context.Context) error {
		if _, err := s.comm.Run(ctx, run.Cmd{Argv: []string{"update-initramfs", "-c", "-k", kernel}}); err != nil {
			return fmt.Errorf("making the initramfs (packages initramfs-tools and zstd): %w", err)
		}
		return nil
	}
	key, err := s.initramfsKey(kernel)
	if err != nil {
		return err
	}
	if key == "" {
		return makeIt(ctx)
	}
	made := false
	dir, err := s.store.Do(ctx, key, func(ctx context.Context, dir string) error {
		made = true
		if err := makeIt(ctx); err != nil {
			return err
		}
		return s.keepInitramfs(kernel, dir)
	})
	if err != nil || made {
		return err
	}
	s.ui.Say("  Nothing that the initramfs of " + kernel + " is made of has changed: taking it from the cache")
	return s.placeInitramfs(kernel, dir)
}

func (s *stepInstallBoot) keepInitramfs(kernel, dir string) error {
	entry, err := rooted.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(copyInitramfs(kernel, s.root, entry), entry.Close())
}

// placeInitramfs leaves the traces, too, that making it would have left: when
// the image is compared, that one directory had something in it counts.
func (s *stepInstallBoot) placeInitramfs(kernel, dir string) error {
	entry, err := rooted.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(copyInitramfs(kernel, entry, s.root), entry.Close()); err != nil {
		return err
	}
	const scratch = "/var/tmp/mkinitramfs"
	return errors.Join(s.root.WriteFile(scratch, nil, 0o600), s.root.Remove(scratch))
}

// copyInitramfs copies an initramfs and its sum, which the initramfs-tools of
// some releases do not keep, to the same places.
func copyInitramfs(kernel string, from, to *rooted.Dir) error {
	for i, name := range initramfsFiles(kernel) {
		err := copyWithMode(name, from, to)
		if err != nil && (i == 0 || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return nil
}

func copyWithMode(name string, from, to *rooted.Dir) error {
	in, err := from.OpenRegular(name)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := to.Create(name, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// plainHooks are the hooks of initramfs-tools that copy no identifier of a file
// system out of /etc/fstab, so that the same initramfs serves disks that differ
// only in those. With any other hook fstab counts as it is.
var plainHooks = []string{
	"amd64_microcode", "busybox", "dmsetup", "framebuffer", "fsck", "intel_microcode", "keymap",
	"klibc-utils", "kmod", "resume", "thermal", "udev", "zz-busybox", "zz-busybox-initramfs",
}

// unrelated are places that Kubernetes and its runtime are configured in, and
// what a node does long after its initramfs: no initramfs is made from them.
var unrelated = []string{
	"/etc/apparmor.d", "/etc/apt", "/etc/cloud", "/etc/cni", "/etc/containerd", "/etc/crictl.yaml",
	"/etc/default/kubelet", "/etc/kubernetes", "/etc/ssh", "/etc/sysctl.d", "/etc/systemd/system",
	"/usr/lib/nodeimage", "/usr/lib/systemd/system", "/usr/share/doc", "/usr/share/man",
}

const fstabPath = "/etc/fstab"

var fstabUUID = regexp.MustCompile(`UUID=[0-9A-Fa-f-]+`)

// initramfsKey is over the base system, everything in /etc and /usr but the
// components, and the kernel. It is empty when something that this does not
// know has a say: an initramfs made by dracut, or a hook that runs after it.
func (s *stepInstallBoot) initramfsKey(kernel string) (string, error) {
	hooks, known, err := s.initramfsHooks()
	if err != nil || !known {
		return "", err
	}
	skip := map[string]bool{}
	for _, name := range append([]string{fstabPath}, unrelated...) {
		skip[name] = true
	}
	for _, c := range s.fragment.Components {
		for _, f := range c.Files {
			skip[f.Path] = true
		}
	}
	fstab, err := s.root.ReadFile(fstabPath)
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(hooks, func(name string) bool { return !slices.Contains(plainHooks, name) }) {
		fstab = fstabUUID.ReplaceAll(fstab, []byte("UUID="))
	}
	h := sha256.New()
	for _, top := range []string{"/etc", "/usr"} {
		if err := s.hashTree(h, top, skip); err != nil {
			return "", fmt.Errorf("looking at what the initramfs is made of: %w", err)
		}
	}
	return store.Key("initramfs-2", s.base.Key, s.base.Epoch.Unix(), kernel, string(fstab), hex.EncodeToString(h.Sum(nil)))
}

// initramfsHooks returns the names of all hooks, and whether it is
// initramfs-tools alone that makes the initramfs.
func (s *stepInstallBoot) initramfsHooks() (names []string, known bool, err error) {
	list := func(dir string) ([]string, error) {
		entries, err := s.root.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		found := make([]string, 0, len(entries))
		for _, e := range entries {
			found = append(found, e.Name())
		}
		return found, err
	}
	if _, err := s.root.Stat("/usr/sbin/mkinitramfs"); err != nil {
		return nil, false, ignoreMissing(err)
	}
	if _, err := s.root.Stat("/usr/bin/dracut"); err == nil {
		return nil, false, nil
	}
	after, err := list("/etc/initramfs/post-update.d")
	if err != nil || len(after) > 0 {
		return nil, false, err
	}
	for _, dir := range []string{"/usr/share/initramfs-tools/hooks", "/etc/initramfs-tools/hooks"} {
		found, err := list(dir)
		if err != nil {
			return nil, false, err
		}
		names = append(names, found...)
	}
	return names, true, nil
}

// hashTree writes a line for each file below top to h. What a package brought is
// known by its size and time; what is younger than every package, or is
// configuration, by its content.
func (s *stepInstallBoot) hashTree(h hash.Hash, top string, skip map[string]bool) error {
	tree := s.rootTree()
	return filepath.WalkDir(filepath.Join(tree, top), func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside := "/" + strings.TrimPrefix(strings.TrimPrefix(name, tree), "/")
		if skip[inside] {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		var what string
		switch {
		case info.Mode().Type() == fs.ModeSymlink:
			if what, err = os.Readlink(name); err != nil {
				return err
			}
		case !info.Mode().IsRegular():
		case top == "/etc" || info.ModTime().After(s.base.Epoch):
			if what, err = s.root.SHA256(inside); err != nil {
				return err
			}
		default:
			what = fmt.Sprintf("%d %s", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano))
		}
		_, err = fmt.Fprintf(h, "%q %v %q\n", inside, info.Mode(), what)
		return err
	})
}
