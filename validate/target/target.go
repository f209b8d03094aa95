// Package target opens what a node boots from and shows its file systems,
// read-only, without root, mounts or loop devices: disk images (qcow2 and
// raw), file system images, tars, and directories such as the "/" of the
// machine that one sits at.
//
// An image may come from anywhere, so nothing in it is trusted: whatever it
// holds ends in an answer or in an error that carries exit code 2, within
// bounded memory, and no link in it leads to a file of the host.
package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/validate/target/internal/gpt"
)

// Kind is what a target is stored as.
type Kind string

// The kinds of targets.
const (
	Qcow2     Kind = "qcow2"
	Raw       Kind = "raw" // a disk, or a file system without one
	Directory Kind = "directory"
	Tar       Kind = "tar" // plain, or compressed with gzip or zstd
)

// Partition is one partition of a disk.
type Partition = gpt.Partition

// Target is an open target. It is safe for concurrent use.
type Target struct {
	path    string
	kind    Kind
	root    FS
	rootNo  int // partition number, 0 without a partition table
	bootNo  int // of /boot, 0 without a partition of its own
	esp     FS
	espErr  error
	parts   []Partition
	guid    string      // of the disk
	disk    io.ReaderAt // what a guest sees, nil for directories and tars
	size    int64       // of disk
	file    *os.File    // what was opened, nil for a directory
	opened  fs.FileInfo // of file, then
	backed  bool        // has a backing file, so file is not all of it
	closers []io.Closer
}

// Path returns the path that the target was opened with.
func (t *Target) Path() string { return t.path }

// Kind tells how the target is stored.
func (t *Target) Kind() Kind { return t.kind }

// Root returns the root file system, with the partition of /boot in its place if
// it has one.
func (t *Target) Root() FS { return t.root }

// ESP returns the EFI system partition's file system. The error is
// fs.ErrNotExist when the target is no disk or has none, and says what is wrong
// with it when it cannot be read.
func (t *Target) ESP() (FS, error) {
	if t.esp == nil && t.espErr == nil {
		return nil, fmt.Errorf("EFI system partition: %w", fs.ErrNotExist)
	}
	return t.esp, t.espErr
}

// Partitions returns the partitions of a disk in the order of their numbers,
// nil for other targets.
func (t *Target) Partitions() []Partition { return t.parts }

// DiskGUID returns the disk's identifier in its partition table, in lower
// case; "" without a table.
func (t *Target) DiskGUID() string { return t.guid }

// Disk returns the bytes of the disk as a guest sees them, and how many there
// are: a qcow2 is read through. It is nil for what is no disk. The size is what
// the image says it is, and need not be backed by anything.
func (t *Target) Disk() (disk io.ReaderAt, size int64) { return t.disk, t.size }

// RootPartition returns the number of the partition that Root shows, or 0.
func (t *Target) RootPartition() int { return t.rootNo }

// Close releases the files that the target has open. Files that were opened
// through it must not be read afterwards.
func (t *Target) Close() error {
	var errs []error
	for i := len(t.closers) - 1; i >= 0; i-- {
		errs = append(errs, t.closers[i].Close())
	}
	t.closers = nil
	return errors.Join(errs...)
}

// Open opens the target at path and finds out by its content what it is.
//
// Errors name what was expected and carry exit code 2 if the target is not
// what it should be (unknown format, encrypted, dirty, truncated, damaged), 75
// if this host could not read it. ctx bounds Open alone, which takes long only
// for compressed tars.
func Open(ctx context.Context, path string) (*Target, error) {
	t := &Target{path: path}
	if err := t.open(ctx); err != nil {
		return nil, fmt.Errorf("opening target %s: %w", path, errors.Join(err, t.Close()))
	}
	return t, nil
}

func (t *Target) open(ctx context.Context) error {
	fi, err := os.Stat(t.path)
	if err != nil {
		return hostError(err)
	}
	switch m := fi.Mode(); {
	case m.IsDir():
		t.kind = Directory
		v, c, err := openDir(t.path)
		if err != nil {
			return hostError(err)
		}
		t.root, t.closers = v, append(t.closers, c)
		return nil
	case !m.IsRegular():
		return badf("is a %s, want an image, a tar or a directory", kindName(m))
	}
	// O_NONBLOCK: should it have become a pipe meanwhile, don't wait for it.
	f, err := os.OpenFile(t.path, os.O_RDONLY|oNonblock, 0)
	if err != nil {
		return hostError(err)
	}
	t.file, t.closers = f, append(t.closers, f)
	if fi, err = f.Stat(); err != nil {
		return hostError(err)
	}
	if !fi.Mode().IsRegular() {
		return badf("is a %s, want an image, a tar or a directory", kindName(fi.Mode()))
	}
	t.opened = fi
	return t.openFile(ctx, f, fi.Size(), filepath.Dir(t.path))
}

// hostError classifies an error from a path that the user gave.
func hostError(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return exitcode.BadInput(err)
	}
	return err
}

func badf(format string, args ...any) error {
	return exitcode.BadInput(fmt.Errorf(format, args...))
}
