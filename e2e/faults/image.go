package faults

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/store"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target"
)

// Maker makes images that can be booted with a change in them, without root,
// mounts and loop devices.
type Maker struct {
	Host run.Runner
	// Store has room for the disk while it is worked on: nothing of it is left
	// there, whatever ends this process.
	Store *store.Store
}

// Make writes a copy of the image that t shows, with changes in it, as a qcow2
// image to out, by rename, so on the file system of the store. The copy is
// read back and compared with what was planned, and checked by e2fsck.
//
// The image must be a disk with a GUID partition table and an ext4 root.
func (m Maker) Make(ctx context.Context, t *target.Target, changes Changes, out string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("making an image of %s with changes in it: %w", t.Path(), err)
		}
	}()
	root, esp, err := offsets(t, len(changes.ESP) > 0)
	if err != nil {
		return err
	}
	dir, release, err := m.Store.Scratch("fault")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	raw := filepath.Join(dir, "disk.raw")
	if err := m.command(ctx, "qemu-img", "convert", "-f", string(t.Kind()), "-O", "raw", t.Path(), raw); err != nil {
		return err
	}
	over, err := t.WithLayer(changes.Root, changes.ESP)
	if err != nil {
		return err
	}
	script, err := debugfsScript(t, changes.Root, dir)
	if err != nil {
		return err
	}
	commands := filepath.Join(dir, "commands")
	if err := os.WriteFile(commands, script, 0o600); err != nil {
		return err
	}
	disk := fmt.Sprintf("%s?offset=%d", raw, root)
	if err := m.command(ctx, "debugfs", "-w", "-f", commands, disk); err != nil {
		return err
	}
	for i, e := range changes.ESP {
		file, err := hostFile(e, dir, fmt.Sprintf("esp-%d", i))
		if err != nil {
			return err
		}
		if err := m.command(ctx, "mcopy", "-o", "-i", fmt.Sprintf("%s@@%d", raw, esp), file, "::"+e.Path); err != nil {
			return err
		}
	}
	// Exit code 0 alone is a clean file system: what debugfs broke, e2fsck
	// must not mend behind our backs.
	if err := m.command(ctx, "e2fsck", "-f", "-n", disk); err != nil {
		return fmt.Errorf("the changed file system is not clean: %w", err)
	}
	// debugfs goes on after a command that failed, and exits with 0.
	if err := compare(ctx, over, raw, changes); err != nil {
		return err
	}
	made := filepath.Join(dir, "image.qcow2")
	if err := m.command(ctx, "qemu-img", "convert", "-W", "-f", "raw", "-O", "qcow2", raw, made); err != nil {
		return err
	}
	err = os.Rename(made, out)
	if errors.Is(err, unix.EXDEV) {
		return exitcode.BadInput(fmt.Errorf("%w: choose a place on the file system of the store %s, or set %s", err, m.Store.Dir(), store.EnvDir))
	}
	return err
}

// offsets returns where the root and the ESP begin, in bytes.
func offsets(t *target.Target, wantESP bool) (root, esp int64, err error) {
	if k := t.Kind(); k != target.Qcow2 && k != target.Raw || t.RootPartition() == 0 {
		return 0, 0, badf("is a %s without partitions: want a disk image with a GUID partition table", t.Kind())
	}
	for _, p := range t.Partitions() {
		switch {
		case p.Number == t.RootPartition():
			root = p.Start
		case esp == 0 && strings.EqualFold(p.Type, espType):
			esp = p.Start
		}
	}
	if wantESP && esp == 0 {
		return 0, 0, badf("has no EFI system partition")
	}
	return root, esp, nil
}

const espType = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"

// command runs a program; Debian keeps some of them where only root's PATH looks.
func (m Maker) command(ctx context.Context, argv ...string) error {
	if _, err := exec.LookPath(argv[0]); err != nil {
		if p, err := exec.LookPath(filepath.Join("/usr/sbin", argv[0])); err == nil {
			argv[0] = p
		}
	}
	_, err := m.Host.Run(ctx, run.Cmd{Argv: argv, Env: []string{"LC_ALL=C", "MTOOLS_SKIP_CHECK=1"}})
	var failed *run.Error
	if errors.As(err, &failed) && failed.Result.ExitCode == 127 {
		return exitcode.BadInput(fmt.Errorf("%w: install e2fsprogs, mtools and qemu-utils", err))
	}
	return err
}

// hostFile is a file of the host with an entry's content.
func hostFile(e target.Entry, dir, name string) (string, error) {
	if e.File != "" {
		return e.File, nil
	}
	file := filepath.Join(dir, name)
	return file, os.WriteFile(file, e.Content, 0o600)
}

// debugfsScript turns entries into debugfs's commands, each on what the ones
// before it left.
func debugfsScript(t *target.Target, entries []target.Entry, dir string) ([]byte, error) {
	var b bytes.Buffer
	quoted := func(p string) (string, error) {
		if strings.ContainsAny(p, "\"\n\x00") || !path.IsAbs(p) {
			return "", badf("path %q: debugfs takes no quotes and line breaks", p)
		}
		return `"` + p + `"`, nil
	}
	for i, e := range entries {
		over, err := t.WithLayer(entries[:i], nil)
		if err != nil {
			return nil, err
		}
		root := over.Root()
		at, err := quoted(e.Path)
		if err != nil {
			return nil, err
		}
		fi, err := root.Lstat(target.Rel(e.Path))
		there := err == nil
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if there && (e.Removed || !fi.IsDir() && !e.Keep) {
			if err := remove(&b, root, e.Path, quoted); err != nil {
				return nil, err
			}
			there = false
		}
		if e.Removed || e.Keep && !there {
			continue
		}
		parent, name := path.Split(e.Path)
		if err := makeParents(&b, root, path.Clean(parent), quoted); err != nil {
			return nil, err
		}
		dirName, err := quoted(path.Clean(parent))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "cd %s\n", dirName)
		switch {
		case there:
		case e.Mode.IsDir():
			fmt.Fprintf(&b, "mkdir \"%s\"\n", name)
		case e.Mode&fs.ModeSymlink != 0:
			if _, err := quoted("/" + e.Link); err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "symlink \"%s\" \"%s\"\n", name, e.Link)
		default:
			file, err := hostFile(e, dir, fmt.Sprintf("root-%d", i))
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "write \"%s\" \"%s\"\n", file, name)
		}
		if e.Mode&fs.ModeSymlink == 0 {
			fmt.Fprintf(&b, "sif %s mode 0%o\n", at, unixMode(e.Mode))
		}
		fmt.Fprintf(&b, "sif %s uid %d\nsif %s gid %d\n", at, e.UID, at, e.GID)
	}
	return b.Bytes(), nil
}

// remove deletes a file, or a directory with all that is in it.
func remove(b *bytes.Buffer, root target.FS, p string, quoted func(string) (string, error)) error {
	var dirs []string
	err := fs.WalkDir(linkless{root}, target.Rel(p), func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at, err := quoted("/" + name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, at)
			return nil
		}
		fmt.Fprintf(b, "rm %s\n", at)
		return nil
	})
	if err != nil {
		return err
	}
	slices.Reverse(dirs)
	for _, at := range dirs {
		fmt.Fprintf(b, "rmdir %s\n", at)
	}
	return nil
}

// linkless makes WalkDir start at a link itself and not where it leads.
type linkless struct{ target.FS }

func (l linkless) Stat(name string) (fs.FileInfo, error) { return l.Lstat(name) }

func makeParents(b *bytes.Buffer, root target.FS, dir string, quoted func(string) (string, error)) error {
	if _, err := root.Lstat(target.Rel(dir)); !errors.Is(err, fs.ErrNotExist) || dir == "/" {
		return err
	}
	if err := makeParents(b, root, path.Dir(dir), quoted); err != nil {
		return err
	}
	above, err := quoted(path.Dir(dir))
	if err != nil {
		return err
	}
	at, err := quoted(dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "cd %s\nmkdir \"%s\"\nsif %s mode 040755\n", above, path.Base(dir), at)
	return nil
}

// unixMode is st_mode.
func unixMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: unix.S_ISUID, fs.ModeSetgid: unix.S_ISGID, fs.ModeSticky: unix.S_ISVTX, fs.ModeDir: unix.S_IFDIR} {
		if m&flag != 0 {
			mode |= bit
		}
	}
	if m.IsRegular() {
		mode |= unix.S_IFREG
	}
	return mode
}

// compare reads the made disk back and wants each changed path as over shows it.
func compare(ctx context.Context, over *target.Target, raw string, changes Changes) (err error) {
	made, err := target.Open(ctx, raw)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, made.Close()) }()
	var errs []error
	for _, e := range changes.Root {
		errs = append(errs, same(over.Root(), made.Root(), e.Path, true))
	}
	if len(changes.ESP) > 0 {
		want, err := over.ESP()
		if err != nil {
			return err
		}
		got, err := made.ESP()
		if err != nil {
			return err
		}
		for _, e := range changes.ESP {
			errs = append(errs, same(want, got, e.Path, false)) // FAT has no owners
		}
	}
	return errors.Join(errs...)
}

func same(want, got target.FS, p string, owners bool) error {
	name := target.Rel(p)
	w, wErr := want.Lstat(name)
	g, gErr := got.Lstat(name)
	if errors.Is(wErr, fs.ErrNotExist) && errors.Is(gErr, fs.ErrNotExist) {
		return nil
	}
	if err := cmp.Or(wErr, gErr); err != nil {
		return fmt.Errorf("%s was not written as planned: %w", p, err)
	}
	ws, _ := target.SysOf(w)
	gs, _ := target.SysOf(g)
	if w.Mode().Type() != g.Mode().Type() || owners && (w.Mode() != g.Mode() || ws.UID != gs.UID || ws.GID != gs.GID) {
		return fmt.Errorf("%s was not written as planned: it is %s of %d:%d, want %s of %d:%d", p, g.Mode(), gs.UID, gs.GID, w.Mode(), ws.UID, ws.GID)
	}
	switch {
	case w.Mode()&fs.ModeSymlink != 0:
		wl, _ := want.ReadLink(name)
		if gl, err := got.ReadLink(name); err != nil || gl != wl {
			return fmt.Errorf("%s was not written as planned: it leads to %q (%v), want %q", p, gl, err, wl)
		}
	case w.Mode().IsRegular():
		return sameContent(want, got, name)
	}
	return nil
}

func sameContent(want, got fs.FS, name string) (err error) {
	w, err := want.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	g, err := got.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, wErr := io.ReadFull(w, a)
		m, gErr := io.ReadFull(g, b)
		if n != m || !bytes.Equal(a[:n], b[:m]) {
			return fmt.Errorf("/%s was not written as planned: its content differs", name)
		}
		if wErr != nil || gErr != nil {
			return ignoreEnd(cmp.Or(ignoreEnd(wErr), ignoreEnd(gErr)))
		}
	}
}

func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
