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

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
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
	key, err := s.initramfsKey(kernel, s.fragment.Components)
	if err != nil {
		return err
	}
	if key == "" {
		return makeIt(ctx)
	}
	s.initramfs.settle(kernel, key)
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
	if s.initramfs.has(kernel, key) {
		s.ui.Say("  The initramfs of " + kernel + " was made while the provisioners worked")
	} else {
		s.ui.Say("  Nothing that the initramfs of " + kernel + " is made of has changed: taking it from the cache")
	}
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
	"/etc/default/kubelet", "/etc/hostname", "/etc/hosts", "/etc/kubernetes", "/etc/locale.conf",
	"/etc/localtime", "/etc/machine-id", "/etc/modules-load.d", "/etc/needrestart", "/etc/repart.d",
	"/etc/ssh", "/etc/sysctl.d", "/etc/systemd/journald.conf.d", "/etc/systemd/networkd.conf.d",
	"/etc/systemd/resolved.conf.d", "/etc/systemd/system", "/etc/systemd/timesyncd.conf.d", "/etc/timezone",
	"/usr/lib/nodeimage", "/usr/lib/systemd/system", "/usr/share/doc", "/usr/share/man",
	// Of accounts and subordinate IDs, what was there before the last change.
	"/etc/.pwd.lock", "/etc/group-", "/etc/gshadow-", "/etc/passwd-", "/etc/shadow-", "/etc/subgid-", "/etc/subuid-",
}

// networkDir has links, which udev's hook copies, and networks, which it does not.
const networkDir = "/etc/systemd/network/"

const fstabPath = "/etc/fstab"

var fstabUUID = regexp.MustCompile(`UUID=[0-9A-Fa-f-]+`)

// initramfsKey is over the base system, everything in /etc and /usr but the
// components, and the kernel. It is empty when something that this does not
// know has a say: an initramfs made by dracut, or a hook that runs after it.
func (b *build) initramfsKey(kernel string, components []manifest.Component) (string, error) {
	hooks, known, err := b.initramfsHooks()
	if err != nil || !known {
		return "", err
	}
	skip := map[string]bool{}
	for _, name := range append([]string{fstabPath}, unrelated...) {
		skip[name] = true
	}
	for _, c := range components {
		for _, f := range c.Files {
			skip[f.Path] = true
		}
	}
	fstab, err := b.root.ReadFile(fstabPath)
	if err != nil {
		return "", err
	}
	if fstabByContent(hooks) {
		fstab = fstabUUID.ReplaceAll(fstab, []byte("UUID="))
	}
	h := sha256.New()
	for _, top := range []string{"/etc", "/usr"} {
		if err := b.hashTree(h, top, skip); err != nil {
			return "", fmt.Errorf("looking at what the initramfs is made of: %w", err)
		}
	}
	return store.Key("initramfs-3", b.base.Key, b.base.Epoch.Unix(), kernel, string(fstab), hex.EncodeToString(h.Sum(nil)))
}

// fstabByContent tells whether no hook copies an identifier out of /etc/fstab.
func fstabByContent(hooks []string) bool {
	return !slices.ContainsFunc(hooks, func(name string) bool { return !slices.Contains(plainHooks, name) })
}

// initramfsHooks returns the names of all hooks, and whether it is
// initramfs-tools alone that makes the initramfs.
func (b *build) initramfsHooks() (names []string, known bool, err error) {
	list := func(dir string) ([]string, error) {
		entries, err := b.root.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		found := make([]string, 0, len(entries))
		for _, e := range entries {
			found = append(found, e.Name())
		}
		return found, err
	}
	if _, err := b.root.Stat("/usr/sbin/mkinitramfs"); err != nil {
		return nil, false, ignoreMissing(err)
	}
	if _, err := b.root.Stat("/usr/bin/dracut"); err == nil {
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
func (b *build) hashTree(h hash.Hash, top string, skip map[string]bool) error {
	tree := b.rootTree()
	return filepath.WalkDir(filepath.Join(tree, top), func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside := "/" + strings.TrimPrefix(strings.TrimPrefix(name, tree), "/")
		if skip[inside] || strings.HasPrefix(inside, networkDir) && !strings.Contains(inside, ".link") {
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
		case top == "/etc" || info.ModTime().After(b.base.Epoch):
			if what, err = b.root.SHA256(inside); err != nil {
				return err
			}
		default:
			what = fmt.Sprintf("%d %s", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano))
		}
		_, err = fmt.Fprintf(h, "%q %v %q\n", inside, info.Mode(), what)
		return err
	})
}
