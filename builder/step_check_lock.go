package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/bootstrap"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// stepCheckLock reads the finished disk back, as whoever boots it will, and
// compares it with the lock. An image that differs is not published.
//
// Uses build.rawDisk and build.fragment.
type stepCheckLock struct{ *build }

func (s *stepCheckLock) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	if s.config.lock == nil {
		return multistep.ActionContinue
	}
	s.ui.Say("Comparing the disk with the lock")
	disk, err := target.Open(ctx, s.rawDisk())
	if err != nil {
		return s.fail(state, "reading the disk back", exitcode.Transient(err))
	}
	defer disk.Close()
	differences, err := lockDifferences(disk.Root(), s.config.lock, s.fragment)
	if err != nil {
		return s.fail(state, "reading the disk back", exitcode.Transient(err))
	}
	if len(differences) > 0 {
		return s.fail(state, "comparing the disk with the lock", exitcode.With(exitcode.Failed,
			fmt.Errorf("the image is not what the lock says:\n  %s", strings.Join(differences, "\n  "))))
	}
	return multistep.ActionContinue
}

func (s *stepCheckLock) Cleanup(multistep.StateBag) {}

const (
	dpkgStatus = "var/lib/dpkg/status"
	maxStatus  = 64 << 20 // bytes; Debian's largest installations have a tenth
	// containerdBlobs is where containerd keeps what images are made of.
	containerdBlobs = "var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
)

// lockDifferences says, a line each, in what a root file system is not what the
// lock names: packages, the kernel, components and container images.
func lockDifferences(root target.FS, l *lock.Lock, f manifest.Fragment) ([]string, error) {
	status, err := root.ReadFileMax(dpkgStatus, maxStatus)
	if err != nil {
		return nil, err
	}
	packages, err := bootstrap.Installed(bytes.NewReader(status))
	if err != nil {
		return nil, fmt.Errorf("dpkg's status on the disk: %w", err)
	}
	lines := l.DiffPackages(packages)
	kernel, err := kernelDifferences(root, l.Kernel)
	if err != nil {
		return nil, err
	}
	lines = append(lines, kernel...)
	components, err := componentDifferences(root, l, f.Components)
	if err != nil {
		return nil, err
	}
	lines = append(lines, components...)
	images, err := imageDifferences(root, l, f.Containers)
	return append(lines, images...), err
}

// kernelDifferences looks at what boots: any kernel beside the locked one may be
// the one that a boot loader takes.
func kernelDifferences(root target.FS, want lock.Kernel) ([]string, error) {
	var lines []string
	found := map[string]bool{}
	for _, dir := range []string{"boot", "usr/lib/modules"} {
		entries, err := root.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			release, kernel := strings.CutPrefix(e.Name(), "vmlinuz-")
			if dir == "boot" && !kernel {
				continue
			}
			found[path.Join(dir, e.Name())] = true
			if release != want.Release {
				lines = append(lines, fmt.Sprintf("kernel: found %s, expected none beside %s", path.Join("/", dir, e.Name()), want.Release))
			}
		}
	}
	if !found["usr/lib/modules/"+want.Release] {
		lines = append(lines, fmt.Sprintf("kernel: found no modules of %s", want.Release))
	}
	sum, err := sumOnDisk(root, "boot/vmlinuz-"+want.Release)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		lines = append(lines, fmt.Sprintf("kernel: found no /boot/vmlinuz-%s", want.Release))
	case err != nil:
		return nil, err
	case sum != want.SHA256:
		lines = append(lines, fmt.Sprintf("kernel: /boot/vmlinuz-%s has sha256 %s, expected %s", want.Release, sum, want.SHA256))
	}
	return lines, nil
}

// componentDifferences compares what provisioners say they installed, and the
// files themselves, with the lock.
func componentDifferences(root target.FS, l *lock.Lock, installed []manifest.Component) ([]string, error) {
	var lines []string
	for _, c := range installed {
		want, ok := l.Component(c.Name)
		if !ok {
			lines = append(lines, fmt.Sprintf("component %s: found %s, expected none: it is not in the lock", c.Name, c.Version))
			continue
		}
		if c.Sum != want.Sum || c.Version != want.Version {
			lines = append(lines, fmt.Sprintf("component %s: found %s with sum %s, expected %s with %s", c.Name, c.Version, c.Sum, want.Version, want.Sum))
		}
		for _, f := range c.Files {
			sum, err := sumOnDisk(root, strings.TrimPrefix(path.Clean(f.Path), "/"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			switch locked := slices.ContainsFunc(want.Files, func(w lock.File) bool { return w.SHA256 == sum }); {
			case err != nil:
				lines = append(lines, fmt.Sprintf("component %s: found no %s", c.Name, f.Path))
			case !locked:
				lines = append(lines, fmt.Sprintf("component %s: %s has sha256 %s, which no file of the lock has", c.Name, f.Path, sum))
			}
		}
	}
	return lines, nil
}

func imageDifferences(root target.FS, l *lock.Lock, preloaded []manifest.Container) ([]string, error) {
	want := map[string]string{}
	for _, i := range l.Images {
		want[i.Name] = i.Digest
	}
	var lines []string
	for _, i := range preloaded {
		digest, ok := want[i.Name]
		delete(want, i.Name)
		if !ok || digest != i.Digest {
			lines = append(lines, fmt.Sprintf("container image %s: found %s, expected %s", i.Name, i.Digest, orNone(digest)))
			continue
		}
		_, hexDigest, _ := strings.Cut(digest, ":")
		sum, err := sumOnDisk(root, path.Join(containerdBlobs, hexDigest))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if sum != hexDigest {
			lines = append(lines, fmt.Sprintf("container image %s: containerd's content %s has sha256 %s", i.Name, hexDigest, orNone(sum)))
		}
	}
	for name := range want {
		lines = append(lines, fmt.Sprintf("container image %s: found none, expected %s", name, want[name]))
	}
	slices.Sort(lines)
	return lines, nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// sumOnDisk is the sha256 of a regular file. Links are not followed: one could
// lead to what the lock does name.
func sumOnDisk(root target.FS, name string) (string, error) {
	if info, err := root.Lstat(name); err != nil {
		return "", err
	} else if !info.Mode().IsRegular() {
		return "", &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
