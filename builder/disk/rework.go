package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodeimage/packer-plugin-nodeimage/internal/exitcode"
	"github.com/nodeimage/packer-plugin-nodeimage/internal/run"
)

// Original is a disk that somebody else made, with partitions that are kept:
// all but the root's file system, and that of /boot if it is one, byte for byte.
type Original struct {
	Disk       io.ReaderAt
	Size       int64                // bytes
	Partitions map[int]OldPartition // by their numbers
	Root, Boot int                  // the numbers of those two; Boot is 0 where /boot is in the root
}

// OldPartition is a partition of an Original, in bytes.
type OldPartition struct{ Start, Length int64 }

func (p OldPartition) end() int64 { return p.Start + p.Length }

// Rework is how an Original becomes a disk of another size with other files.
type Rework struct {
	// Layout is the new disk's; it has no partitions but the root, and no
	// identifiers but the root's.
	Layout     Layout
	old        Original
	root, boot ext4ID
}

// NewRework grows the root to the end of a disk of size bytes, which are whole
// MiB. Errors are bad input.
func NewRework(o Original, size int64, epoch time.Time) (Rework, error) {
	r := Rework{old: o, Layout: Layout{Size: size, Epoch: epoch}}
	root := o.Partitions[o.Root]
	bad := func(format string, args ...any) (Rework, error) {
		return Rework{}, exitcode.BadInput(fmt.Errorf(format, args...))
	}
	switch {
	case size < o.Size:
		return bad("disk size of %d MiB: the cloud image has %d MiB and is not made smaller: expected at least that in disk.size of the profile (or disk_size of the template)", size>>20, (o.Size+1<<20-1)>>20)
	case size > o.Size:
		for _, number := range slices.Sorted(maps.Keys(o.Partitions)) {
			if o.Partitions[number].Start > root.Start {
				return bad("the root, partition %d of the cloud image, cannot grow from %d MiB: partition %d lies behind it: expected disk.size to be the image's own size, %d MiB, or an image whose root is the last on the disk", o.Root, root.Length>>20, number, o.Size>>20)
			}
		}
		// The last MiB holds the backup of the table.
		root.Length = max(root.Length, size-alignment*SectorSize-root.Start)
	}
	r.Layout.Root = Partition{Start: root.Start / SectorSize, Sectors: root.Length / SectorSize}
	var err error
	if r.root, err = readExt4ID(o.Disk, root.Start); err != nil {
		return bad("the root file system of the cloud image cannot be made anew: %w", err)
	}
	r.Layout.RootUUID, r.Layout.RootLabel = r.root.UUID, r.root.Label
	if o.Boot != 0 {
		if r.boot, err = readExt4ID(o.Disk, o.Partitions[o.Boot].Start); err != nil {
			return bad("the file system of /boot of the cloud image cannot be made anew: %w", err)
		}
	}
	return r, nil
}

// Assemble makes the raw disk at path, a sparse file, from the original and the
// tree of the root file system. It works on files alone, and a file system that is
// made anew has the same bytes each time, unlike one that was mounted. scratch is an
// empty directory on the tree's file system; the tree is as before afterwards.
func (r Rework) Assemble(ctx context.Context, host run.Runner, tree, path, scratch string) error {
	if err := sparse(path, r.Layout.Size); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(r.copyKept(out), out.Close()); err != nil {
		return fmt.Errorf("copying the partitions that are kept: %w", err)
	}
	if err := r.partition(ctx, host, path); err != nil {
		return fmt.Errorf("partitioning: %w", err)
	}
	if r.old.Boot != 0 {
		boot := r.old.Partitions[r.old.Boot]
		if err := r.remake(ctx, host, path, filepath.Join(tree, "boot"), scratch, boot.Start, boot.Length, r.boot); err != nil {
			return fmt.Errorf("/boot: %w", err)
		}
		restore, err := setAside(filepath.Join(tree, "boot"), filepath.Join(scratch, "boot"))
		if err != nil {
			return err
		}
		err = r.remake(ctx, host, path, tree, scratch, r.Layout.Root.Offset(), r.Layout.Root.Size(), r.root)
		return errors.Join(err, restore())
	}
	return r.remake(ctx, host, path, tree, scratch, r.Layout.Root.Offset(), r.Layout.Root.Size(), r.root)
}

// setAside puts an empty directory in the place of dir, which the function that
// it returns undoes: another file system is mounted there.
func setAside(dir, to string) (restore func() error, err error) {
	parent := filepath.Dir(dir)
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	above, err := os.Stat(parent)
	if err != nil {
		return nil, err
	}
	sameTime := func() error { return os.Chtimes(parent, above.ModTime(), above.ModTime()) }
	if err := os.Rename(dir, to); err != nil {
		return nil, err
	}
	restore = func() error {
		return errors.Join(os.Remove(dir), os.Rename(to, dir), sameTime())
	}
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755), os.Chtimes(dir, info.ModTime(), info.ModTime()), sameTime()); err != nil {
		return nil, errors.Join(err, restore())
	}
	return restore, nil
}

// copyKept copies all that lies outside the file systems that are made anew, up
// to the backup of the old table.
func (r Rework) copyKept(out io.WriterAt) error {
	anew := []OldPartition{r.old.Partitions[r.old.Root]}
	if r.old.Boot != 0 {
		anew = append(anew, r.old.Partitions[r.old.Boot])
	}
	slices.SortFunc(anew, func(a, b OldPartition) int { return int(a.Start>>9) - int(b.Start>>9) })
	last := int64(0)
	for _, p := range r.old.Partitions {
		last = max(last, p.end())
	}
	at := int64(0)
	for _, p := range append(anew, OldPartition{Start: last}) {
		if p.Start > at {
			if err := copyBlocks(out, io.NewSectionReader(r.old.Disk, at, p.Start-at), at); err != nil {
				return err
			}
		}
		at = max(at, p.end())
	}
	return nil
}

// partition writes the table again, for the disk's new size: with the same
// identifiers, types, names and attributes, and a backup at the new end.
func (r Rework) partition(ctx context.Context, host run.Runner, path string) error {
	dump, err := host.Run(ctx, run.Cmd{Argv: []string{"sfdisk", "--dump", path}})
	if err != nil {
		return err
	}
	script, err := grownScript(dump.Stdout, r.old.Partitions[r.old.Root].Start/SectorSize, r.Layout.Root.Sectors)
	if err != nil {
		return err
	}
	_, err = host.Run(ctx, run.Cmd{Argv: append(sfdiskArgv(path), "--wipe-partitions", "never"), Stdin: strings.NewReader(script)})
	return err
}

var partitionStart = regexp.MustCompile(`: start= *([0-9]+), size= *([0-9]+),`)

// grownScript is sfdisk's dump of a table, as its input for a disk of another
// size: the partition that starts at that sector has so many.
func grownScript(dump string, start, sectors int64) (string, error) {
	var b strings.Builder
	grown := 0
	for line := range strings.Lines(dump) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ": "); {
		case name == "device", name == "last-lba":
			continue // of the old size
		case name == "label" && value != "gpt":
			return "", fmt.Errorf("found a partition table of type %s, expected gpt", value)
		case name == "sector-size" && value != strconv.Itoa(SectorSize):
			return "", fmt.Errorf("found sectors of %s bytes, expected %d", value, SectorSize)
		}
		if at := partitionStart.FindStringSubmatchIndex(line); at != nil && line[at[2]:at[3]] == strconv.FormatInt(start, 10) {
			line = line[:at[4]] + strconv.FormatInt(sectors, 10) + line[at[5]:]
			grown++
		}
		b.WriteString(line)
	}
	if grown != 1 {
		return "", fmt.Errorf("found %d partitions that start at sector %d in what sfdisk --dump says, expected one", grown, start)
	}
	return b.String(), nil
}

// remake makes a file system anew and checks it.
func (r Rework) remake(ctx context.Context, host run.Runner, path, tree, scratch string, offset, size int64, id ext4ID) error {
	if err := runMke2fs(ctx, host, remakeArgv(path, tree, offset, size, id), scratch, r.Layout.Epoch, size); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(clampTimes(out, offset, r.Layout.Epoch), out.Close()); err != nil {
		return fmt.Errorf("setting the times in the file system: %w", err)
	}
	return checkFS(ctx, host, path, offset)
}
