package builder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
)

// plainSystem is what the key of an initramfs is computed over.
func plainSystem() map[string]string {
	return map[string]string{
		"usr/sbin/mkinitramfs":                     "#!/bin/sh",
		"usr/share/initramfs-tools/hooks/kmod":     "#!/bin/sh",
		"usr/lib/modules/6.12/kernel/fs/ext4.ko":   "module",
		"usr/bin/kubelet":                          "component",
		"usr/bin/true":                             "program",
		"etc/initramfs-tools/initramfs.conf":       "MODULES=most",
		"etc/systemd/network/99-default.link":      "[Link]",
		"etc/fstab":                                "UUID=11111111-2222-3333-4444-555555555555 / ext4 defaults 0 1\n",
		"etc/sysctl.d/99-kubernetes.conf":          "net.ipv4.ip_forward = 1",
		"etc/modprobe.d/blacklist.conf":            "blacklist floppy",
		"usr/lib/systemd/system/kubelet.service":   "[Service]",
		"usr/share/initramfs-tools/scripts/local":  "mount",
		"usr/lib/udev/rules.d/50-udev-default":     "rule",
		"usr/lib/nodeimage/manifest.d/fragment.js": "{}",
	}
}

var systemEpoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func installBootIn(t *testing.T, files map[string]string) *stepInstallBoot {
	t.Helper()
	b, _ := prepared(t, nil)
	b.scratch = t.TempDir()
	write(t, b.rootTree(), files)
	for name := range files {
		if err := os.Chtimes(filepath.Join(b.rootTree(), name), systemEpoch, systemEpoch.Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if b.root, err = rooted.Open(b.rootTree()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.root.Close() })
	if b.store, err = store.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	b.base.Key, b.base.Epoch = strings.Repeat("a", 64), systemEpoch
	b.fragment.Components = []manifest.Component{{Name: "kubernetes", Files: []manifest.File{{Path: "/usr/bin/kubelet"}}}}
	return &stepInstallBoot{build: b}
}

func keyOf(t *testing.T, s *stepInstallBoot) string {
	t.Helper()
	key, err := s.initramfsKey("6.12", s.fragment.Components)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestInitramfsKey(t *testing.T) {
	t.Parallel()
	first := keyOf(t, installBootIn(t, plainSystem()))
	if first == "" {
		t.Fatal("a plain system has no key")
	}
	for name, tc := range map[string]struct {
		files map[string]string // beside or instead of the plain ones
		touch string            // made younger than every package
		same  bool
	}{
		"same":                        {same: true},
		"patched component":           {files: map[string]string{"usr/bin/kubelet": "newer component"}, touch: "usr/bin/kubelet", same: true},
		"sysctl":                      {files: map[string]string{"etc/sysctl.d/99-kubernetes.conf": "vm.swappiness = 0"}, same: true},
		"other disk":                  {files: map[string]string{"etc/fstab": "UUID=99999999-2222-3333-4444-555555555555 / ext4 defaults 0 1\n"}, same: true},
		"other file system":           {files: map[string]string{"etc/fstab": "UUID=11111111-2222-3333-4444-555555555555 / xfs defaults 0 1\n"}},
		"module setting":              {files: map[string]string{"etc/modprobe.d/blacklist.conf": "blacklist nouveau"}},
		"initramfs-tools setting":     {files: map[string]string{"etc/initramfs-tools/initramfs.conf": "MODULES=dep"}},
		"another module":              {files: map[string]string{"usr/lib/modules/6.12/updates/x.ko": "module"}},
		"module of another size":      {files: map[string]string{"usr/lib/modules/6.12/kernel/fs/ext4.ko": "larger module"}},
		"module edited in the build":  {files: map[string]string{"usr/lib/modules/6.12/kernel/fs/ext4.ko": "eludom"}, touch: "usr/lib/modules/6.12/kernel/fs/ext4.ko"},
		"hook that may copy fstab":    {files: map[string]string{"etc/initramfs-tools/hooks/mine": "#!/bin/sh"}},
		"network":                     {files: map[string]string{"etc/systemd/network/90-dhcp.network": "[Match]"}, same: true},
		"link of a network":           {files: map[string]string{"etc/systemd/network/70-lan.link": "[Match]"}},
		"host name":                   {files: map[string]string{"etc/hostname": "localhost"}, same: true},
		"udev rule of the build host": {files: map[string]string{"etc/udev/rules.d/70-net.rules": "rule"}},
	} {
		files := plainSystem()
		for name, text := range tc.files {
			files[name] = text
		}
		s := installBootIn(t, files)
		if tc.touch != "" {
			now := systemEpoch.Add(time.Hour)
			if err := os.Chtimes(filepath.Join(s.rootTree(), tc.touch), now, now); err != nil {
				t.Fatal(err)
			}
		}
		if got := keyOf(t, s); (got == first) != tc.same {
			t.Errorf("%s: same key: %v, want %v", name, got == first, tc.same)
		}
	}
	other := installBootIn(t, plainSystem())
	other.base.Key = strings.Repeat("b", 64)
	if keyOf(t, other) == first {
		t.Error("another base system has the same key")
	}
	if key, err := installBootIn(t, plainSystem()).initramfsKey("6.13", nil); err != nil || key == first {
		t.Errorf("another kernel has the same key (%v)", err)
	}
}

// With a hook that could copy it, the identifier of the file system counts.
func TestInitramfsKeyUnknownHook(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{}
	for _, uuid := range []string{"1", "2"} {
		files := plainSystem()
		files["usr/share/initramfs-tools/hooks/cryptroot"] = "#!/bin/sh"
		files["etc/fstab"] = "UUID=" + uuid + " / ext4 defaults 0 1\n"
		keys[keyOf(t, installBootIn(t, files))] = true
	}
	if len(keys) != 2 {
		t.Errorf("got %d keys for two disks, want 2", len(keys))
	}
}

func TestInitramfsKeyUnknownMaker(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"usr/bin/dracut", "etc/initramfs/post-update.d/systemd-boot"} {
		files := plainSystem()
		files[name] = "#!/bin/sh"
		if key := keyOf(t, installBootIn(t, files)); key != "" {
			t.Errorf("%s: the initramfs has a key", name)
		}
	}
	files := plainSystem()
	delete(files, "usr/sbin/mkinitramfs")
	if key := keyOf(t, installBootIn(t, files)); key != "" {
		t.Error("without mkinitramfs there is a key")
	}
}

// What was kept comes back with its bytes and its mode.
func TestInitramfsKept(t *testing.T) {
	t.Parallel()
	files := plainSystem()
	files["boot/initrd.img-6.12"] = "initramfs"
	files["var/lib/initramfs-tools/6.12"] = "sum"
	from := installBootIn(t, files)
	if err := from.root.Chmod("/boot/initrd.img-6.12", 0o640); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := from.keepInitramfs("6.12", dir); err != nil {
		t.Fatal(err)
	}
	to := installBootIn(t, plainSystem())
	scratch := filepath.Join(to.rootTree(), "var/tmp")
	if err := os.MkdirAll(scratch, 0o1777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(scratch, systemEpoch, systemEpoch.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := to.placeInitramfs("6.12", dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range initramfsFiles("6.12") {
		want, err := from.root.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := to.root.ReadFile(name); err != nil || string(got) != string(want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	if info, err := to.root.Stat("/boot/initrd.img-6.12"); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v, want mode 0640", info.Mode(), err)
	}
	// mkinitramfs works there, and a directory's time is in the image.
	if info, err := os.Stat(scratch); err != nil || !info.ModTime().After(systemEpoch) {
		t.Errorf("/var/tmp does not look used: %v, %v", info.ModTime(), err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left in /var/tmp: %v, %v", left, err)
	}
	if err := from.keepInitramfs("6.13", t.TempDir()); err == nil {
		t.Error("an initramfs that was not made is kept")
	}
}
