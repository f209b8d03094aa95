package component

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/archive"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/fetch"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/interrupt"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/manifest"
	"github.com/nodeimage/packer-plugin-nodeimage/profiles"
)

// releaseFormat changes when the same files give another component.
const releaseFormat = "release/1"

// releaseFiles takes a component's programs from files that its upstream
// released, or that lie on this host.
type releaseFiles struct {
	maker     *Maker
	name      string
	component profiles.Component
	fetches   []profiles.Fetch
	programs  programs
}

// programs are what is wanted of a component's release; the rest of an archive
// is documentation, or for systems that are no nodes.
type programs struct {
	Wanted []string
	Needed []string // of them: without these the release is no use
}

// releasePrograms are those that the same component would be built with.
func releasePrograms(name string) programs {
	if name == "crictl" {
		return programs{[]string{"crictl"}, []string{"crictl"}}
	}
	makeRecipe, ok := recipes()[name]
	if !ok {
		return programs{}
	}
	all := makeRecipe(release{}).programs()
	switch name {
	case "kubernetes":
		// The control plane's programs are only there for those who have no
		// component for it.
		return programs{all, []string{"kubeadm", "kubelet", "kubectl"}}
	case "control-plane":
		return programs{all, nil} // an image that lacks its program says so
	case "cni-plugins":
		return programs{all, []string{"bridge", "host-local", "loopback", "portmap"}}
	}
	return programs{all, all}
}

func (m *Maker) newRelease(name string, c profiles.Component) (source, error) {
	r := &releaseFiles{m, name, c, c.Fetches(m.profile.OS.Arch), releasePrograms(name)}
	refuse := func(format string, args ...any) error {
		return exitcode.BadInput(fmt.Errorf("component "+name+": "+format, args...))
	}
	if len(r.programs.Wanted) == 0 {
		return nil, refuse("cannot come from a file: it is no set of programs")
	}
	if len(r.fetches) == 0 {
		return nil, refuse("source %q needs a list of files", c.Source)
	}
	var errs []error
	for i, f := range r.fetches {
		if f.SHA256 == "" {
			errs = append(errs, refuse("files[%d]: no sha256 for %s", i, m.profile.OS.Arch))
		}
		if f.Name != "" && !slices.Contains(r.programs.Wanted, f.Name) {
			errs = append(errs, refuse("files[%d]: %s is no program of it: expected one of %s: say which with `name`, or give an archive that ends in .tar.gz, .tgz or .tar.zst",
				i, f.Name, strings.Join(r.programs.Wanted, ", ")))
		}
	}
	return r, errors.Join(errs...)
}

func (r *releaseFiles) keyParts(context.Context) ([]any, error) {
	return []any{releaseFormat, r.component.Source, r.component.Version, r.maker.profile.OS.Arch, r.fetches, r.programs}, nil
}

func (r *releaseFiles) make(ctx context.Context, dir string) (manifest.Component, error) {
	record := manifest.Component{Name: r.name, Version: r.component.Version, Source: string(r.component.Source)}
	work := filepath.Join(dir, ".work")
	if err := os.Mkdir(work, 0o755); err != nil {
		return record, err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for i, f := range r.fetches {
		group.Go(func() error { return r.get(groupCtx, f, downloaded(work, i)) })
	}
	if err := group.Wait(); err != nil {
		return record, err
	}
	for i, f := range r.fetches {
		info, err := os.Stat(downloaded(work, i))
		if err != nil {
			return record, err
		}
		record.Downloads = append(record.Downloads, manifest.Download{From: f.From(), SHA256: f.SHA256, Size: info.Size()})
		if err := r.place(ctx, f, downloaded(work, i), filepath.Join(dir, filesDir)); err != nil {
			return record, err
		}
	}
	record.Sum = sumOfDownloads(record.Downloads)
	if len(record.Downloads) == 1 {
		record.Module = record.Downloads[0].From
	}
	if err := r.check(filepath.Join(dir, filesDir)); err != nil {
		return record, err
	}
	return record, os.RemoveAll(work)
}

func downloaded(work string, i int) string { return filepath.Join(work, fmt.Sprintf("%02d", i)) }

// get brings one file to target, whole and with the pinned sum.
func (r *releaseFiles) get(ctx context.Context, f profiles.Fetch, target string) error {
	if f.Path != "" {
		return copyPinned(ctx, f.Path, f.SHA256, target)
	}
	return r.maker.fetch.Get(ctx, fetch.File{What: r.label(f), URL: f.URL, SHA256: f.SHA256}, target)
}

// label names a file in progress lines: kubelet 1.36.4, containerd 2.2.7.
func (r *releaseFiles) label(f profiles.Fetch) string {
	if f.Name != "" {
		return label(f.Name, r.component.Version)
	}
	return label(r.name, r.component.Version)
}

// place puts the programs of one file into dir.
func (r *releaseFiles) place(ctx context.Context, f profiles.Fetch, file, dir string) error {
	if f.Name != "" {
		target := filepath.Join(dir, f.Name)
		if _, err := os.Lstat(target); err == nil {
			return exitcode.BadInput(fmt.Errorf("two of the files are %s", f.Name))
		}
		return errors.Join(os.Chmod(file, 0o755), os.Rename(file, target))
	}
	err := archive.Extract(ctx, file, dir, archive.DefaultLimits(), func(name string) string {
		if base := path.Base(name); slices.Contains(r.programs.Wanted, base) {
			return base
		}
		return ""
	})
	if errors.As(err, new(*archive.Error)) {
		return exitcode.BadInput(fmt.Errorf("unpacking %s: %w: nothing of it was kept: this is no archive that %s releases, though its sha256 is the pinned %s: pin another one",
			f.From(), err, r.name, f.SHA256))
	}
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", f.From(), err)
	}
	return os.Remove(file)
}

// check wants all that is needed, made for the profile's architecture.
func (r *releaseFiles) check(dir string) error {
	found, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	var names []string
	for _, f := range found {
		names = append(names, f.Name())
		errs = append(errs, checkProgram(filepath.Join(dir, f.Name()), r.maker.profile.OS.Arch))
	}
	for _, needed := range r.programs.Needed {
		if !slices.Contains(names, needed) {
			errs = append(errs, fmt.Errorf("no %s in %s: found %s", needed, r.places(), strings.Join(names, ", ")))
		}
	}
	if len(names) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("none of %s in %s", strings.Join(r.programs.Wanted, ", "), r.places()))
	}
	return exitcode.BadInput(errors.Join(errs...))
}

func (r *releaseFiles) places() string {
	var from []string
	for _, f := range r.fetches {
		from = append(from, f.From())
	}
	return strings.Join(from, ", ")
}

// checkProgram makes sure that a file is a program for an architecture: a sum
// that was pinned for another one would show only when the node boots.
func checkProgram(file, arch string) error {
	wants := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]
	name := filepath.Base(file)
	f, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("%s is no program for Linux: expected an ELF file (%w)", name, err)
	}
	defer f.Close()
	if f.Machine != wants {
		return fmt.Errorf("%s is made for %s, and the profile is for %s (%s): compare the sums that are pinned for the two", name, f.Machine, arch, wants)
	}
	return nil
}

// copyPinned copies a file of this host, hashing what it copies.
func copyPinned(ctx context.Context, from, sum, target string) (err error) {
	info, err := os.Stat(from) // opening a pipe would wait for its other end
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "read", Path: from, Err: errors.New("it is no regular file")}
	}
	var in *os.File
	if err == nil {
		in, err = os.Open(from)
	}
	if err != nil {
		return exitcode.BadInput(fmt.Errorf("%w: expected the file that `path` names, with sha256 %s", err, sum))
	}
	defer in.Close()
	out, err := os.Create(target)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(out, hash), interrupt.Reader(ctx, in)); err != nil {
		return err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != sum {
		return exitcode.BadInput(fmt.Errorf("%s: sha256 is %s, expected %s: put the file there that is pinned, or pin this one", from, got, sum))
	}
	return nil
}

// sumOfDownloads is the sum of the one file, or one over the sums of all.
func sumOfDownloads(downloads []manifest.Download) string {
	if len(downloads) == 1 {
		return "sha256:" + downloads[0].SHA256
	}
	files := make([]manifest.File, len(downloads))
	for i, d := range downloads {
		files[i] = manifest.File{Path: d.From, SHA256: d.SHA256}
	}
	return sumOfFiles(files)
}
