package bootstrap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/chroot"
	"github.com/nodeimage/packer-plugin-nodeimage/builder/cloudimage"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/rooted"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles/lock"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/systemd"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// imageFormat changes when the same image and packages give another base.
const imageFormat = "cloudimage/1"

const (
	dpkgStatus = "/var/lib/dpkg/status"
	bootDir    = "/boot"
)

// makeOnImage is one attempt to make the base of a profile that begins with a
// cloud image: its files, with the packages that it lacks.
func (m Maker) makeOnImage(ctx context.Context, p *profiles.Profile, keyrings []string) (Base, error) {
	c := p.Base.CloudImage
	signer, err := m.signer(ctx, c)
	if err != nil {
		return Base{}, err
	}
	releases, err := m.lockedReleases()
	if m.Lock == nil {
		releases, err = FetchReleases(ctx, p.Archive, m.mirrors())
	}
	if err != nil {
		return Base{}, err
	}
	key, err := store.Key(imageFormat, c.SHA256, signer, releases, p.Archive.Effective(), keyrings, p.OS, p.Kernel.Package, p.PackageList(), p.PackagePins(), m.lockedPackages())
	if err != nil {
		return Base{}, err
	}
	image, err := cloudimage.Get(ctx, m.Client, m.Store, c)
	if err != nil {
		return Base{}, err
	}
	_, cached := m.Store.Lookup(key)
	dir, err := m.Store.Do(ctx, key, func(ctx context.Context, dir string) error {
		m.begin()
		return m.fillOnImage(ctx, p, image, signer, releases, dir)
	})
	if err != nil {
		return Base{}, err
	}
	base := Base{Key: key, Tar: filepath.Join(dir, tarName), Image: image, Cached: cached, Epoch: newest(releases)}
	return base, base.readRecord(dir)
}

// signer is who signed the image's sum: looked up anew, or the lock's, which was
// made when it was.
func (m Maker) signer(ctx context.Context, c profiles.CloudImage) (string, error) {
	if m.Lock != nil {
		if locked := m.Lock.Base.CloudImage; locked.SHA256 != c.SHA256 {
			return "", exitcode.BadInput(fmt.Errorf("the lock is of a system that begins with %q, and the profile says %s: run `nodeimage lock --update`", locked.SHA256, c.SHA256))
		}
		return m.Lock.Base.CloudImage.Signer, nil
	}
	if m.Client == nil {
		return "", exitcode.BadInput(errors.New("a profile with a cloud image needs a network unless it has a lock"))
	}
	return cloudimage.Signer(ctx, m.Client, c)
}

// fillOnImage makes the tar and the record in dir.
func (m Maker) fillOnImage(ctx context.Context, p *profiles.Profile, image, signer string, releases []Release, dir string) (err error) {
	scratch, release, err := m.Store.Scratch("cloudimage")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	info, err := os.Stat(image)
	if err != nil {
		return err
	}
	tree := filepath.Join(scratch, "root")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	m.say("unpacking the cloud image")
	if err := m.unpackImage(ctx, p, image, scratch, tree); err != nil {
		return err
	}
	root, err := rooted.Open(tree)
	if err != nil {
		return err
	}
	defer root.Close()
	before, err := installedIn(root)
	if err != nil {
		return fmt.Errorf("the cloud image %s: %w", p.Base.CloudImage.Name(), err)
	}
	if err := suitable(root, before, p); err != nil {
		return exitcode.BadInput(fmt.Errorf("the cloud image %s is not what the profile %s is for: %w", p.Base.CloudImage.Name(), p.Name, err))
	}
	if err := m.installOnImage(ctx, p, root, before, scratch, newest(releases)); err != nil {
		return err
	}
	after, err := installedIn(root)
	if err != nil {
		return err
	}
	record, err := m.recordOnImage(ctx, p, before, after, scratch, releases)
	if err != nil {
		return err
	}
	record.Base.CloudImage.URL, record.Base.CloudImage.SHA256 = p.Base.CloudImage.URL, p.Base.CloudImage.SHA256
	record.Base.CloudImage.Size, record.Base.CloudImage.Signer = int(info.Size()), signer
	if record.Kernels, err = kernelsIn(root); err != nil {
		return err
	}
	if err := m.removeAptWork(root); err != nil {
		return err
	}
	m.say("creating tarball")
	if _, err := m.Host.Run(ctx, run.Cmd{Argv: packArgv(tree, filepath.Join(dir, tarName), newest(releases))}); err != nil {
		return err
	}
	return record.write(dir)
}

func (m Maker) say(line string) {
	if m.Progress != nil {
		m.Progress(line)
	}
}

// unpackImage puts the image's files into the directory tree.
func (m Maker) unpackImage(ctx context.Context, p *profiles.Profile, image, scratch, tree string) (err error) {
	t, err := cloudimage.Open(ctx, m.Host, image, scratch, p.Base.CloudImage.Name())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	return m.unpackTarget(ctx, t, tree)
}

func (m Maker) unpackTarget(ctx context.Context, t *target.Target, tree string) error {
	in, out := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := cloudimage.WriteTar(ctx, out, t)
		out.CloseWithError(err)
		written <- err
	}()
	_, err := m.Host.Run(ctx, run.Cmd{Argv: UnpackArgv("-", tree), Stdin: in})
	in.CloseWithError(errors.New("tar has ended")) // and so does the writer
	if writeErr := <-written; writeErr != nil && (err == nil || exitcode.Of(writeErr) == exitcode.Usage) {
		return fmt.Errorf("reading the cloud image: %w", writeErr)
	}
	return err
}

// UnpackArgv is the command line that unpacks a base into a directory, with
// owners, modes and attributes.
func UnpackArgv(tar, tree string) []string {
	return []string{
		"tar", "--extract", "--file=" + tar, "--directory=" + tree, "--numeric-owner", "--same-owner",
		"--preserve-permissions", "--xattrs", "--xattrs-include=*", "--delay-directory-restore",
	}
}

// packArgv makes the tar of a tree: the same for the same tree, and with nothing
// in it that is younger than the archive.
func packArgv(tree, tar string, epoch time.Time) []string {
	return []string{
		"tar", "--create", "--file=" + tar, "--directory=" + tree, "--one-file-system", "--sort=name", "--numeric-owner",
		"--format=pax", "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime", "--xattrs", "--xattrs-include=*",
		"--clamp-mtime", fmt.Sprintf("--mtime=@%d", epoch.Unix()), ".",
	}
}

// installedIn reads dpkg's status in a root.
func installedIn(root *rooted.Dir) ([]manifest.Package, error) {
	status, err := root.ReadFile(dpkgStatus)
	if err != nil {
		return nil, err
	}
	packages, err := Installed(bytes.NewReader(status))
	if err != nil {
		return nil, fmt.Errorf("dpkg's status: %w", err)
	}
	return packages, nil
}

// suitable says in what an image is not the system that a profile describes. Its
// kernel is its own, as its boot loader is: one that is not there is not installed.
func suitable(root *rooted.Dir, packages []manifest.Package, p *profiles.Profile) error {
	var errs []error
	release, err := root.ReadFile("/etc/os-release")
	if err != nil {
		return err
	}
	says := map[string]string{}
	for _, v := range systemd.ParseEnvironment("/etc/os-release", release) {
		says[v.Name] = v.Value
	}
	if got, want := says["ID"]+" "+says["VERSION_ID"], p.OS.Distribution+" "+p.OS.Version; got != want {
		errs = append(errs, fmt.Errorf("it is %s, expected %s", got, want))
	}
	var kernels []string
	for _, pkg := range packages {
		if pkg.Name == "dpkg" && pkg.Arch != p.OS.Arch {
			errs = append(errs, fmt.Errorf("its architecture is %s, expected %s", pkg.Arch, p.OS.Arch))
		}
		if strings.HasPrefix(pkg.Name, "linux-image-") {
			kernels = append(kernels, pkg.Name)
		}
	}
	if !slices.Contains(kernels, p.Kernel.Package) {
		errs = append(errs, fmt.Errorf("it has no package %s, and its kernel is kept: expected kernel.package to be one that it has (%s)", p.Kernel.Package, strings.Join(kernels, ", ")))
	}
	return errors.Join(errs...)
}

// recordOnImage says where each package came from.
func (m Maker) recordOnImage(ctx context.Context, p *profiles.Profile, before, after []manifest.Package, scratch string, releases []Release) (Record, error) {
	if m.Lock != nil {
		if differences := m.Lock.DiffPackages(after); len(differences) > 0 {
			return Record{}, exitcode.BadInput(fmt.Errorf("the lock does not give a system of exactly its packages: %s: make the lock again with `nodeimage lock`", strings.Join(differences, "; ")))
		}
		return Record{Packages: m.Lock.Packages, Releases: m.Lock.Releases, Base: m.Lock.Base}, nil
	}
	var added []manifest.Package
	var kept []lock.Installed
	for _, pkg := range after {
		if slices.Contains(before, pkg) {
			kept = append(kept, lock.Installed{Name: pkg.Name, Version: pkg.Version, Arch: pkg.Arch})
		} else {
			added = append(added, pkg)
		}
	}
	record, err := newRecord(scratch, p, m.mirrors(), releases, added)
	if err != nil {
		return Record{}, err
	}
	record.Base.CloudImage.Packages = kept
	return record, m.keepDebs(ctx, filepath.Join(scratch, debsName), record.Packages)
}

// kernelsIn takes the sums of the kernels below /boot.
func kernelsIn(root *rooted.Dir) ([]lock.Kernel, error) {
	entries, err := root.ReadDir(bootDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var kernels []lock.Kernel
	for _, e := range entries {
		release, ok := strings.CutPrefix(e.Name(), "vmlinuz-")
		if !ok || !e.Type().IsRegular() {
			continue
		}
		sum, err := root.SHA256(bootDir + "/" + e.Name())
		if err != nil {
			return nil, err
		}
		kernels = append(kernels, lock.Kernel{Release: release, SHA256: sum})
	}
	slices.SortFunc(kernels, func(a, b lock.Kernel) int { return strings.Compare(a.Release, b.Release) })
	return kernels, nil
}

// KernelsChanged says in what the kernels of a root are not those of its base.
func (b Base) KernelsChanged(root *rooted.Dir) ([]string, error) {
	now, err := kernelsIn(root)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, k := range b.Record.Kernels {
		if !slices.Contains(now, k) {
			lines = append(lines, fmt.Sprintf("/boot/vmlinuz-%s is gone or another one", k.Release))
		}
	}
	for _, k := range now {
		if !slices.ContainsFunc(b.Record.Kernels, func(was lock.Kernel) bool { return was.Release == k.Release }) {
			lines = append(lines, fmt.Sprintf("/boot/vmlinuz-%s is new", k.Release))
		}
	}
	return lines, nil
}

// inImage runs commands in a root for as long as fn works.
func inImage(root *rooted.Dir, epoch time.Time, fn func(run.Runner) error) error {
	comm, err := chroot.New(root.Name(), chroot.WithEpoch(epoch))
	if err != nil {
		return err
	}
	return errors.Join(fn(comm), comm.Close())
}
