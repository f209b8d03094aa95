package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/nodeimage/packer-plugin-nodeimage/builder/disk"
)

// stepPublish puts the images and the manifest into the output directory, each
// by a rename: whoever looks sees an old file or a new one, and never a part.
//
// Uses build.images, and sets their digests. Sets build.artifact.
type stepPublish struct{ *build }

func (s *stepPublish) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	files, err := s.publish(ctx)
	if err != nil {
		return s.fail(state, "publishing the image", diskFull(err))
	}
	s.artifact = newArtifact(s.config.profile, s.newManifest(), s.base.Key, files)
	s.ui.Say(s.artifact.String())
	return multistep.ActionContinue
}

func (s *stepPublish) Cleanup(multistep.StateBag) {}

func (s *stepPublish) publish(ctx context.Context) ([]string, error) {
	var files []string
	for i := range s.images {
		image := &s.images[i]
		to := filepath.Join(s.config.OutputDirectory, image.record.File)
		if err := moveFile(image.path, to, func() (err error) {
			image.record.SHA256, image.record.Size, err = disk.Digest(ctx, image.path)
			return err
		}); err != nil {
			return nil, err
		}
		files = append(files, to)
	}
	// The manifest comes last: it is the sign that all it lists is there.
	text, err := json.MarshalIndent(s.newManifest(), "", "  ")
	if err != nil {
		return nil, err
	}
	manifest := filepath.Join(s.imagesDir(), "manifest.json")
	if err := os.WriteFile(manifest, append(text, '\n'), 0o644); err != nil {
		return nil, err
	}
	if err := moveFile(manifest, s.config.manifestPath(), nothing); err != nil {
		return nil, err
	}
	return append(files, s.config.manifestPath()), syncDir(s.config.OutputDirectory)
}

func nothing() error { return nil }

// moveFile replaces the file to by the file from, which may lie on another file
// system. Writing it to the disk is waiting, for the most part, so it does
// something meanwhile, and replaces nothing unless that has worked.
func moveFile(from, to string, meanwhile func() error) error {
	var fromFS, toFS unix.Stat_t
	if err := errors.Join(unix.Stat(from, &fromFS), unix.Stat(filepath.Dir(to), &toFS)); err != nil {
		return fmt.Errorf("moving %s to %s: %w", from, to, err)
	}
	var group errgroup.Group
	group.Go(meanwhile)
	// Mounts of one file system at two places are told apart by rename only.
	if fromFS.Dev == toFS.Dev {
		if err := errors.Join(syncFile(from), group.Wait()); err != nil {
			return err
		}
		if err := os.Rename(from, to); !errors.Is(err, unix.EXDEV) {
			return err
		}
	}
	dir := filepath.Dir(to)
	partial := filepath.Join(dir, partialPrefix+filepath.Base(to))
	if err := os.Remove(partial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(err, group.Wait())
	}
	err := copyNameless(from, dir, partial)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOENT) {
		err = copyNamed(from, partial)
	}
	if err = errors.Join(err, group.Wait()); err == nil {
		err = os.Rename(partial, to)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("copying %s to %s: %w", from, to, err), ignoreMissing(os.Remove(partial)))
	}
	return nil
}

// copyNameless copies into a file that has no name until it is whole, so that
// not even SIGKILL leaves a part of it. Not every file system can.
func copyNameless(from, dir, name string) error {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), name)
	defer out.Close()
	if err := copyInto(out, from); err != nil {
		return err
	}
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", out.Fd()), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
}

func copyNamed(from, name string) error {
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(copyInto(out, from), out.Close())
}

// copyInto copies the data of a sparse file and leaves its holes.
func copyInto(out *os.File, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	for at := int64(0); at < info.Size(); {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole to the end
		}
		if err != nil {
			return err
		}
		if at, err = unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, data), io.NewSectionReader(in, data, at-data)); err != nil {
			return err
		}
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	// A umask of the caller's shall not decide who can read an image.
	if err := out.Chmod(0o644); err != nil {
		return err
	}
	return out.Sync()
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
